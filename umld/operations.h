#ifndef UMLD_UMLD_OPERATIONS_H_
#define UMLD_UMLD_OPERATIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "state/rows.h"
#include "state/store.h"

namespace umld {

// An operation as it is now: the committed row and, while it runs, how far it is.
struct OperationView {
  state::OperationRow row;
  uint32_t percent = 0;
  std::string progress = {};
  uint64_t done_bytes = 0;  // of the present step
  uint64_t total_bytes = 0;
};

// The operations of this daemon: intents committed before anything is done, and who waits for their outcome.
// Thread-safe. Begin and Finish block on the disk.
class Operations {
 public:
  // `store` and `loop` outlive it.
  Operations(state::Store* store, EventLoop* loop) : store_(store), loop_(loop) {}

  struct Begun {
    state::OperationRow row;
    bool is_new = true;  // false: the request id was seen before; do not act again
  };
  // Commits the intent. `row.id` is given here.
  absl::StatusOr<Begun> Begin(state::OperationRow row);
  // Takes up one that an earlier daemon left unfinished.
  void Resume(const state::OperationRow& row);

  // What is shown while it runs; does nothing when it is done.
  void SetProgress(uint64_t id, uint32_t percent, absl::string_view what);

  // The same for a step that is measured in bytes; kCancelled when somebody wants it to end.
  absl::Status SetByteProgress(uint64_t id, absl::string_view what, uint64_t done, uint64_t total);

  // What Finish says of it when it has succeeded, in the row's message.
  void SetNote(uint64_t id, absl::string_view note);

  // From here on Cancel may be asked of it: whoever runs it looks at SetByteProgress's answer.
  void AllowCancel(uint64_t id);
  // Returns at once. kFailedPrecondition NOT_CANCELLABLE. One that has ended stays as it is.
  absl::Status Cancel(uint64_t id);

  // The row with its outcome, for the transaction that commits the effect; then Published once that is committed.
  static state::OperationRow Outcome(state::OperationRow row, const absl::Status& status);
  void Published(const state::OperationRow& done);
  // Commits the outcome alone and publishes it.
  void Finish(const state::OperationRow& row, const absl::Status& status);

  absl::StatusOr<OperationView> Get(uint64_t id);
  // Newest first.
  absl::StatusOr<std::vector<OperationView>> List(uint64_t before_id, int limit, bool unfinished_only);

  // Calls `done` once, with the operation as it is when it ends or when `timeout` is over; at once if it has ended.
  // `done` runs on any thread and must not block.
  void Wait(uint64_t id, absl::Duration timeout, std::function<void(absl::StatusOr<OperationView>)> done);

 private:
  struct Active {
    OperationView view;
    bool cancellable = false;
    bool cancelled = false;
    std::string note;
    std::map<uint64_t, std::function<void(absl::StatusOr<OperationView>)>> waiters;
  };

  void EndWait(uint64_t id, uint64_t waiter);

  state::Store* const store_;
  EventLoop* const loop_;
  absl::Mutex mutex_;
  uint64_t next_waiter_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Active> active_ ABSL_GUARDED_BY(mutex_);
};

// "operations/42" and back. kInvalidArgument.
inline std::string OperationName(uint64_t id) { return "operations/" + std::to_string(id); }
absl::StatusOr<uint64_t> ParseOperationName(absl::string_view name);

// The error an operation ended with; OK when it succeeded.
absl::Status OperationStatus(const state::OperationRow& row);

}  // namespace umld

#endif  // UMLD_UMLD_OPERATIONS_H_
