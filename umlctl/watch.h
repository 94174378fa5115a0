#ifndef UMLD_UMLCTL_WATCH_H_
#define UMLD_UMLCTL_WATCH_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "umlctl/client.h"

namespace umld::umlctl {

struct WatchOptions {
  std::string subject;  // "guests/web1"; empty: all
  std::string resume_token;
  bool skip_snapshot = false;
  absl::Time deadline = absl::InfiniteFuture();
  // How long umld may be away at a time.
  absl::Duration patience = absl::Seconds(30);
};

// Connects anew to an umld that went away, as soon as it is back. Its error: it has stayed away for `patience`.
// kDeadlineExceeded: until `deadline`.
absl::Status ReconnectWithin(Client& client, absl::Duration patience, absl::Time deadline = absl::InfiniteFuture());

// Client::Watch that goes on where it was when umld restarts or this watcher was too slow. When too much was missed, a
// new snapshot comes instead. Ends when `take` returns false (OK), at the deadline (kDeadlineExceeded), when umld stays
// away (kUnavailable), or on any other error. `note` gets a line for the user when umld goes away or comes back.
absl::Status WatchThroughRestarts(Client& client, const WatchOptions& options,
                                  absl::FunctionRef<bool(const v1::WatchResponse&)> take,
                                  absl::FunctionRef<void(const std::string&)> note);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_WATCH_H_
