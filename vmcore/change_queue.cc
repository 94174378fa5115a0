#include "vmcore/change_queue.h"

#include <utility>

namespace umld::vmcore {

ChangeQueue::~ChangeQueue() { loop_->Cancel(next_timer_); }

void ChangeQueue::Add(std::function<void()> run, Done done) {
  changes_.push_back({std::move(run), std::move(done)});
  if (changes_.size() == 1) changes_.front().run();
}

void ChangeQueue::Finish(const absl::Status& status) {
  if (changes_.empty()) return;  // abandoned, and told so
  Change finished = std::move(changes_.front());
  changes_.pop_front();
  // The next one starts from the loop, so that a callback never finds its owner in the middle of something.
  if (!changes_.empty()) {
    next_timer_ = loop_->RunAfter(EventLoop::Clock::duration::zero(), [this] {
      next_timer_ = 0;
      if (!changes_.empty()) changes_.front().run();
    });
  }
  finished.done(status);
}

void ChangeQueue::AfterAll(std::function<void()> done) {
  Add([this] { Finish(absl::OkStatus()); }, [done = std::move(done)](const absl::Status&) { done(); });
}

void ChangeQueue::Abandon(absl::string_view reason) {
  loop_->Cancel(std::exchange(next_timer_, 0));
  std::deque<Change> abandoned = std::exchange(changes_, {});
  for (Change& change : abandoned) change.done(absl::CancelledError(reason));
}

}  // namespace umld::vmcore
