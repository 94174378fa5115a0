#include "vmcore/protocol.h"

#include <string>

#include "absl/strings/str_cat.h"
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

namespace {

// Not in the middle of a character.
std::string Cut(absl::string_view text) {
  constexpr size_t kMost = 8192;
  if (text.size() <= kMost) return std::string(text);
  size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace

v1::Error ToWireError(const absl::Status& status) {
  v1::Error error;
  ErrorDetail detail = GetErrorDetail(status);
  error.set_code(static_cast<int32_t>(status.code()));
  error.set_message(Cut(status.message()));
  error.set_reason(Cut(detail.reason));
  error.set_subject(Cut(detail.subject));
  error.set_hint(Cut(detail.hint));
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
