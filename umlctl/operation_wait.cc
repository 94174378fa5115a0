#include "umlctl/operation_wait.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/rpc_status.h"

namespace umld::umlctl {
namespace {

// With somebody looking on, the line should move; without, fewer calls.
constexpr int64_t kLookEverySeconds = 1;
constexpr int64_t kWaitSeconds = 30;

std::string ProgressText(const v1::Operation& operation) {
  std::string text = operation.progress().empty() ? operation.verb() : operation.progress();
  if (operation.percent() > 0) absl::StrAppend(&text, " ", operation.percent(), "%");
  return text;
}

}  // namespace

absl::StatusOr<v1::Operation> WaitForOperation(Session& session, Client& client, v1::Operation operation) {
  const std::string what = ShortName(operation.target());
  v1::WaitOperationRequest request;
  request.set_name(operation.name());
  request.mutable_timeout()->set_seconds(session.shows_progress() ? kLookEverySeconds : kWaitSeconds);
  while (!operation.done()) {
    session.ShowProgress(what, ProgressText(operation));
    absl::StatusOr<v1::Operation> now = client.WaitOperation(request);
    if (!now.ok()) {
      session.EndProgress(what);
      return now.status();
    }
    operation = *std::move(now);
  }
  session.EndProgress(what);
  RETURN_IF_ERROR(FromOperation(operation));
  return operation;
}

}  // namespace umld::umlctl
