#ifndef UMLD_BASE_EVENT_LOOP_H_
#define UMLD_BASE_EVENT_LOOP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// One epoll loop with timers. With nothing to do it sleeps without a timeout: no wake-ups when idle.
// Thread: everything on the thread that calls Run (or before Run), but Post and Quit, which any thread may call.
class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using TimerId = uint64_t;

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `ready` with the epoll events whenever any of `events` holds (level-triggered). `fd` stays the caller's, who
  // calls Unwatch before closing it. One watch per fd.
  void Watch(int fd, uint32_t events, std::function<void(uint32_t)> ready);
  void SetEvents(int fd, uint32_t events);
  // No callback of this watch runs any more, also when an event was already fetched. Unknown fds are ignored.
  void Unwatch(int fd);

  // Runs `expired` once, at least `delay` from now.
  TimerId RunAfter(Clock::duration delay, std::function<void()> expired);
  // Ignores timers that have run or were cancelled, and 0.
  void Cancel(TimerId timer);

  // Runs `task` on the loop's thread, after what is being done now. Any thread.
  void Post(std::function<void()> task);

  // Until Quit.
  void Run();
  void Quit();

 private:
  EventLoop(UniqueFd epoll, UniqueFd wakeup);

  struct Watcher {
    int fd;
    std::function<void(uint32_t)> ready;
  };

  int TimeoutMs() const;
  void RunTimers();
  void RunPosted();

  UniqueFd epoll_;
  UniqueFd wakeup_;  // eventfd
  bool quit_ = false;
  uint64_t next_id_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Watcher>> watchers_;  // by the id in epoll's data
  std::unordered_map<int, uint64_t> id_of_fd_;
  std::map<std::pair<Clock::time_point, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, Clock::time_point> timer_due_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_
};

}  // namespace umld

#endif  // UMLD_BASE_EVENT_LOOP_H_
