#include "umlctl/rpc_status.h"

#include <grpcpp/support/status.h>

#include "base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace umld::umlctl {
namespace {

std::string Metadata(const google::rpc::ErrorInfo& info, const char* key) {
  const auto found = info.metadata().find(key);
  return found == info.metadata().end() ? "" : found->second;
}

}  // namespace

absl::Status FromRpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      google::rpc::ErrorInfo info;
      if (any.UnpackTo(&info)) {
        return MakeError(code, status.error_message(),
                         {info.reason(), Metadata(info, "subject"), Metadata(info, "hint")});
      }
    }
  }
  return absl::Status(code, status.error_message());
}

absl::Status FromOperation(const v1::Operation& operation) {
  if (!operation.done() || !operation.has_error() || operation.error().code() == 0) return absl::OkStatus();
  const v1::OperationError& error = operation.error();
  return MakeError(static_cast<absl::StatusCode>(error.code()), error.message(),
                   {error.reason(), error.subject(), error.hint()});
}

}  // namespace umld::umlctl
