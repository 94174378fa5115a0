#ifndef UMLD_UMLD_VMCORE_WIRE_H_
#define UMLD_UMLD_VMCORE_WIRE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/rows.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

// What a vmcore says, on a socket or in a file, as umld takes it. A vmcore speaks to a guest's kernel all its life and
// may have been taken over by it: what it says about devices is a valid spec, or is not there. All of these are pure.

// kDataLoss: no frame; it may be one of a newer vmcore.
absl::StatusOr<vmcore::v1::Frame> DecodeVmcoreFrame(absl::string_view packet);
// The files `status` and `exit`. kDataLoss.
absl::StatusOr<vmcore::v1::Facts> DecodeVmcoreFacts(absl::string_view bytes);
absl::StatusOr<vmcore::v1::Exit> DecodeVmcoreExit(absl::string_view bytes);

// A reply as its caller gets it: the error in it becomes a status, with its detail, and never an OK one.
absl::StatusOr<vmcore::v1::Reply> FromReply(const vmcore::v1::Reply& reply);

state::ExitRow ToRow(const vmcore::v1::Exit& exit);
state::DiskRow FromVmcoreDisk(const vmcore::v1::Disk& disk);

// The configuration that a vmcore has, in the place of the row's devices and version. kInvalidArgument: it is none that
// umld could have given it, and the row is as it was.
absl::Status TakeDevices(const vmcore::v1::GuestConfig& config, state::GuestRow* row);

}  // namespace umld

#endif  // UMLD_UMLD_VMCORE_WIRE_H_
