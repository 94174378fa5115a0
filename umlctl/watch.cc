#include "umlctl/watch.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace umld::umlctl {
namespace {

constexpr absl::Duration kRetryPause = absl::Milliseconds(200);

// umld went away: the connection broke, or its server ended the stream on its way out.
bool EndedByRestart(const absl::Status& status) {
  return status.ok() || Client::IsDisconnected(status) || status.code() == absl::StatusCode::kCancelled;
}

}  // namespace

absl::Status ReconnectWithin(Client& client, absl::Duration patience, absl::Time deadline) {
  const absl::Time give_up = std::min(absl::Now() + patience, deadline);
  while (true) {
    absl::SleepFor(kRetryPause);
    absl::Status status = client.Reconnect();
    if (status.ok() || !Client::IsDisconnected(status)) return status;
    if (absl::Now() >= deadline) return absl::DeadlineExceededError("umld is away");
    if (absl::Now() >= give_up) return status;
  }
}

absl::Status WatchThroughRestarts(Client& client, const WatchOptions& options,
                                  absl::FunctionRef<bool(const v1::WatchResponse&)> take,
                                  absl::FunctionRef<void(const std::string&)> note) {
  v1::WatchRequest request;
  request.set_subject(options.subject);
  request.set_resume_token(options.resume_token);
  request.set_skip_snapshot(options.skip_snapshot);
  bool away = false;
  while (true) {
    bool enough = false;
    absl::Status status = client.Watch(request, options.deadline, [&](const v1::WatchResponse& response) {
      if (away) note("note: umld is back");
      away = false;
      if (!response.resume_token().empty()) request.set_resume_token(response.resume_token());
      enough = !take(response);
      return !enough;
    });
    if (enough) return absl::OkStatus();
    if (status.code() == absl::StatusCode::kOutOfRange) {
      // What was missed is no longer kept: only the present state can tell.
      request.clear_resume_token();
      request.set_skip_snapshot(false);
      absl::SleepFor(kRetryPause);
    } else if (status.code() == absl::StatusCode::kResourceExhausted) {
      absl::SleepFor(kRetryPause);
    } else if (EndedByRestart(status)) {
      if (!away) note("note: umld went away; waiting for it");
      away = true;
      if (absl::Status again = ReconnectWithin(client, options.patience, options.deadline); !again.ok()) {
        return again;
      }
    } else {
      return status;
    }
  }
}

}  // namespace umld::umlctl
