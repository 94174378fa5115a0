#include "umld/worker_pool.h"

#include <utility>

namespace umld {

WorkerPool::~WorkerPool() { Shutdown(); }

void WorkerPool::Shutdown() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    shutdown_ = true;
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void WorkerPool::Submit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  Enqueue(std::move(task));
}

void WorkerPool::SubmitInLine(uint64_t line, std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  auto [found, is_new] = lines_.try_emplace(line);
  found->second.push_back(std::move(task));
  if (is_new) Enqueue([this, line] { RunLine(line); });
}

void WorkerPool::Enqueue(std::function<void()> task) {
  if (shutdown_) return;
  ready_.push_back(std::move(task));
  if (idle_ < static_cast<int>(ready_.size()) && static_cast<int>(threads_.size()) < max_threads_) {
    threads_.emplace_back([this] { ThreadMain(); });
  }
}

void WorkerPool::RunLine(uint64_t line) {
  std::function<void()> task;
  {
    absl::MutexLock lock(&mutex_);
    auto& queue = lines_[line];
    task = std::move(queue.front());
    queue.pop_front();
  }
  task();
  task = nullptr;  // what it captured goes before the next one begins
  absl::MutexLock lock(&mutex_);
  // One task per turn, so that a long line does not keep a thread from the other guests.
  if (lines_[line].empty()) {
    lines_.erase(line);
  } else {
    Enqueue([this, line] { RunLine(line); });
  }
}

void WorkerPool::ThreadMain() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      ++idle_;
      auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return shutdown_ || !ready_.empty(); };
      mutex_.Await(absl::Condition(&wake));
      --idle_;
      if (shutdown_) return;
      task = std::move(ready_.front());
      ready_.pop_front();
    }
    task();
  }
}

}  // namespace umld
