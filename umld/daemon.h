#ifndef UMLD_UMLD_DAEMON_H_
#define UMLD_UMLD_DAEMON_H_

#include <memory>

#include "absl/status/statusor.h"
#include "umld/daemon_config.h"

namespace umld {

// One umld: everything it is made of, in the order in which it is brought up and taken down.
class Daemon {
 public:
  // Locks the state directory, opens the database, finds the guests again, and listens. Blocks until every vmcore has
  // answered or had its chance. SIGTERM, SIGINT and SIGHUP are blocked in all threads.
  // kFailedPrecondition ALREADY_RUNNING: another umld has this state or runtime directory; else as the database and
  // socket say.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const DaemonConfig& config);
  virtual ~Daemon() = default;

  // Serves until SIGTERM or SIGINT. Guests go on running: that umld ends means nothing to them. Work may still be under
  // way in other threads when it returns; the process is to be left at once, by _Exit.
  virtual void Run() = 0;
};

}  // namespace umld

#endif  // UMLD_UMLD_DAEMON_H_
