#ifndef UMLD_VMCORE_CHANGE_QUEUE_H_
#define UMLD_VMCORE_CHANGE_QUEUE_H_

#include <deque>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"

namespace umld::vmcore {

// Changes of a running kernel's devices, one after the other: each is begun when the one before it has finished.
// Thread: the loop's. Never blocks.
class ChangeQueue {
 public:
  using Done = std::function<void(absl::Status)>;

  explicit ChangeQueue(EventLoop* loop) : loop_(loop) {}
  ~ChangeQueue();
  ChangeQueue(const ChangeQueue&) = delete;
  ChangeQueue& operator=(const ChangeQueue&) = delete;

  // `run` begins the change, at once when nothing is under way, and ends it by calling Finish.
  void Add(std::function<void()> run, Done done);
  // The change under way is over: its `done` runs. Ignored after Abandon.
  void Finish(const absl::Status& status);
  // Runs `done` when everything added before is over.
  void AfterAll(std::function<void()> done);
  // Whatever is under way or waits gets kCancelled, with `reason`.
  void Abandon(absl::string_view reason);

 private:
  struct Change {
    std::function<void()> run;
    Done done;
  };

  EventLoop* loop_;
  EventLoop::TimerId next_timer_ = 0;
  std::deque<Change> changes_;  // the front one is under way
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CHANGE_QUEUE_H_
