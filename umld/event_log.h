#ifndef UMLD_UMLD_EVENT_LOG_H_
#define UMLD_UMLD_EVENT_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "state/rows.h"
#include "state/store.h"

namespace umld {

// What happened, in the order of its sequence numbers: committed with the change it tells of (state::Store), then
// published here to whoever watches. Thread-safe.
class EventLog {
 public:
  // `store` outlives it. Continues after the last event in the store.
  static absl::StatusOr<std::unique_ptr<EventLog>> Create(state::Store* store);

  // Makes committed events visible. Commits end in any order; events become visible in sequence, so one whose
  // predecessor is still being committed waits for it.
  void Publish(const std::vector<state::EventRow>& events);

  // The newest sequence that is visible.
  uint64_t LastSequence() const;
  enum class Gaps { kRefuse, kSkip };
  // Events after `after`, at most `limit`, oldest first. kOutOfRange: some before the last of them are no longer kept,
  // and `gaps` is kRefuse. May block on the disk when they are old.
  absl::StatusOr<std::vector<state::EventRow>> Read(uint64_t after, int limit, Gaps gaps = Gaps::kRefuse);

  // Calls `changed` after every Publish that made something visible, on the publishing thread; it must not block.
  uint64_t AddListener(std::function<void()> changed);
  // After it returns, the listener is not running and will not.
  void RemoveListener(uint64_t id);

 private:
  EventLog(state::Store* store, uint64_t last) : store_(store), last_(last) {}

  state::Store* const store_;
  mutable absl::Mutex mutex_;
  uint64_t last_ ABSL_GUARDED_BY(mutex_);
  std::deque<state::EventRow> recent_ ABSL_GUARDED_BY(mutex_);           // the newest, without gaps, ending in last_
  std::map<uint64_t, state::EventRow> waiting_ ABSL_GUARDED_BY(mutex_);  // committed, a predecessor is missing
  absl::Mutex listeners_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  uint64_t next_listener_ ABSL_GUARDED_BY(listeners_mutex_) = 1;
  std::map<uint64_t, std::function<void()>> listeners_ ABSL_GUARDED_BY(listeners_mutex_);
};

}  // namespace umld

#endif  // UMLD_UMLD_EVENT_LOG_H_
