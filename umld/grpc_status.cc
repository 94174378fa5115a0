#include "umld/grpc_status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace umld {
namespace {

// gRPC sends errors as headers, of at most 8 KiB in all; an error that quotes paths of the host's greatest length is
// cut in the middle of its texts.
constexpr size_t kMaxMessage = 900, kMaxDetail = 450;

std::string Shorten(absl::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  auto continues = [text](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U; };
  size_t head = most * 2 / 3, tail = text.size() - most / 3;
  while (head > 0 && continues(head)) --head;
  while (tail < text.size() && continues(tail)) ++tail;
  return absl::StrCat(text.substr(0, head), "...", text.substr(tail));
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ErrorDetail detail = GetErrorDetail(status);
  google::rpc::ErrorInfo info;
  info.set_reason(detail.reason);
  info.set_domain("umld");
  if (!detail.subject.empty()) (*info.mutable_metadata())["subject"] = Shorten(detail.subject, kMaxDetail);
  if (!detail.hint.empty()) (*info.mutable_metadata())["hint"] = Shorten(detail.hint, kMaxDetail);
  const std::string message = Shorten(status.message(), kMaxMessage);
  google::rpc::Status rich;
  rich.set_code(static_cast<int>(status.code()));
  rich.set_message(message);
  rich.add_details()->PackFrom(info);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, rich.SerializeAsString());
}

}  // namespace umld
