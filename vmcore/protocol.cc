#include "vmcore/protocol.h"

#include "base/status.h"

namespace umld::vmcore {

std::string EncodeFrame(const v1::Frame& frame) { return frame.SerializeAsString(); }

absl::StatusOr<v1::Frame> DecodeFrame(absl::string_view packet) {
  v1::Frame frame;
  if (!frame.ParseFromArray(packet.data(), static_cast<int>(packet.size()))) {
    return absl::DataLossError("the packet is no frame of vmcore's protocol");
  }
  return frame;
}

v1::Error ToWireError(const absl::Status& status) {
  v1::Error error;
  ErrorDetail detail = GetErrorDetail(status);
  error.set_code(static_cast<int32_t>(status.code()));
  error.set_message(std::string(status.message()));
  error.set_reason(detail.reason);
  error.set_subject(detail.subject);
  error.set_hint(detail.hint);
  return error;
}

absl::Status FromWireError(const v1::Error& error) {
  auto code = static_cast<absl::StatusCode>(error.code());
  if (error.code() <= 0 || error.code() > static_cast<int>(absl::StatusCode::kUnauthenticated)) {
    code = absl::StatusCode::kUnknown;
  }
  return MakeError(code, error.message(), {error.reason(), error.subject(), error.hint()});
}

}  // namespace umld::vmcore
