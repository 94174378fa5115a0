#include "umlctl/operation_wait.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/duration.h"
#include "umlctl/rpc_status.h"

namespace umld::umlctl {
namespace {

// With somebody looking on, the line should move; without, fewer calls.
constexpr int64_t kLookEverySeconds = 1;
constexpr int64_t kWaitSeconds = 30;

// Says how far the operation is, and for a step in bytes how long that may still take at the pace of the step so far.
class Pace {
 public:
  std::string Text(const v1::Operation& operation) {
    std::string text = operation.progress().empty() ? operation.verb() : operation.progress();
    if (operation.progress() != step_) {
      step_ = operation.progress();
      begun_ = absl::Now();
      begun_at_ = operation.done_bytes();
    }
    if (operation.percent() > 0) absl::StrAppend(&text, " ", operation.percent(), "%");
    const uint64_t done = operation.done_bytes(), total = operation.total_bytes();
    if (total == 0) {
      if (done > 0) absl::StrAppend(&text, ", ", HumanByteSize(done));
      return text;
    }
    absl::StrAppend(&text, " of ", HumanByteSize(total));
    const absl::Duration taken = absl::Now() - begun_;
    if (done > begun_at_ && done < total && taken > absl::Seconds(1)) {
      const double share = static_cast<double>(total - done) / static_cast<double>(done - begun_at_);
      absl::StrAppend(&text, ", ", HumanDuration(absl::Trunc(taken * share, absl::Seconds(1)) + absl::Seconds(1)),
                      " left");
    }
    return text;
  }

 private:
  std::string step_;
  absl::Time begun_ = absl::Now();
  uint64_t begun_at_ = 0;
};

}  // namespace

absl::StatusOr<v1::Operation> WaitForOperation(Session& session, Client& client, v1::Operation operation) {
  const std::string what = ShortName(operation.target());
  v1::WaitOperationRequest request;
  request.set_name(operation.name());
  request.mutable_timeout()->set_seconds(session.shows_progress() ? kLookEverySeconds : kWaitSeconds);
  Pace pace;
  while (!operation.done()) {
    session.ShowProgress(what, pace.Text(operation));
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
