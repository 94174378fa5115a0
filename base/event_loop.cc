#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/status.h"

namespace umld {
namespace {

constexpr uint64_t kWakeupId = 0;

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.ok()) return ErrnoError(errno, "epoll_create1");
  UniqueFd wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup.ok()) return ErrnoError(errno, "eventfd");
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWakeupId;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup.get(), &event) != 0) return ErrnoError(errno, "epoll_ctl");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wakeup)));
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd wakeup) : epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}

EventLoop::~EventLoop() = default;

void EventLoop::Watch(int fd, uint32_t events, std::function<void(uint32_t)> ready) {
  uint64_t id = next_id_++;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = id;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    std::perror("EventLoop::Watch");  // a bad or doubly watched fd: our bug
    std::abort();
  }
  watchers_[id] = std::make_shared<Watcher>(Watcher{fd, std::move(ready)});
  id_of_fd_[fd] = id;
}

void EventLoop::SetEvents(int fd, uint32_t events) {
  auto found = id_of_fd_.find(fd);
  if (found == id_of_fd_.end()) return;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = found->second;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Unwatch(int fd) {
  auto found = id_of_fd_.find(fd);
  if (found == id_of_fd_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watchers_.erase(found->second);
  id_of_fd_.erase(found);
}

EventLoop::TimerId EventLoop::RunAfter(Clock::duration delay, std::function<void()> expired) {
  TimerId id = next_id_++;
  Clock::time_point due = Clock::now() + delay;
  timers_[{due, id}] = std::move(expired);
  timer_due_[id] = due;
  return id;
}

void EventLoop::Cancel(TimerId timer) {
  auto found = timer_due_.find(timer);
  if (found == timer_due_.end()) return;
  timers_.erase({found->second, timer});
  timer_due_.erase(found);
}

void EventLoop::Post(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(task));
  }
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(wakeup_.get(), &one, sizeof(one));
}

void EventLoop::Quit() {
  Post([this] { quit_ = true; });
}

int EventLoop::TimeoutMs() const {
  if (timers_.empty()) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 3600 * 1000));
}

void EventLoop::RunTimers() {
  // Timers set by the ones that run now wait for the next round, so that a zero delay cannot starve the fds.
  Clock::time_point now = Clock::now();
  std::vector<TimerId> due;
  for (const auto& [key, unused] : timers_) {
    if (key.first > now) break;
    due.push_back(key.second);
  }
  for (TimerId id : due) {
    auto found = timer_due_.find(id);
    if (found == timer_due_.end()) continue;  // cancelled by one that ran before it
    auto node = timers_.extract({found->second, id});
    timer_due_.erase(found);
    node.mapped()();
  }
}

void EventLoop::RunPosted() {
  uint64_t count = 0;
  [[maybe_unused]] ssize_t got = read(wakeup_.get(), &count, sizeof(count));
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task();
}

void EventLoop::Run() {
  quit_ = false;
  while (!quit_) {
    epoll_event events[32];
    int count = epoll_wait(epoll_.get(), events, 32, TimeoutMs());
    if (count < 0 && errno != EINTR) {
      std::perror("epoll_wait");
      std::abort();
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;  // a copy: epoll_event is packed
      if (id == kWakeupId) {
        RunPosted();
        continue;
      }
      auto found = watchers_.find(id);
      if (found == watchers_.end()) continue;  // unwatched by an earlier callback of this round
      std::shared_ptr<Watcher> watcher = found->second;
      watcher->ready(events[i].events);
    }
    RunTimers();
  }
}

}  // namespace umld
