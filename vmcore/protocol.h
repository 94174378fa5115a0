#ifndef UMLD_VMCORE_PROTOCOL_H_
#define UMLD_VMCORE_PROTOCOL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The highest version of the protocol that this build speaks (see vmcore.proto).
inline constexpr uint32_t kProtocolVersion = 1;

// One Frame and the packet that carries it. Used by both ends. Pure.
std::string EncodeFrame(const v1::Frame& frame);
// kDataLoss: no Frame.
absl::StatusOr<v1::Frame> DecodeFrame(absl::string_view packet);

// A Status on the wire and back, with its ErrorDetail. Do not call ToWireError with an OK status. A long text, which is
// the guest's, is cut: it has to fit into a packet.
v1::Error ToWireError(const absl::Status& status);
absl::Status FromWireError(const v1::Error& error);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_PROTOCOL_H_
