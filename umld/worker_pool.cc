#include "umld/worker_pool.h"

#include <system_error>
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

void WorkerPool::SubmitInLines(const std::set<uint64_t>& lines, std::function<void()> task) {
  auto entry = std::make_shared<InLines>();
  entry->task = std::move(task);
  entry->lines = lines;
  entry->ahead = lines.size();
  absl::MutexLock lock(&mutex_);
  if (lines.empty()) Enqueue([this, entry] { Run(entry); });
  for (uint64_t line : lines) {
    auto& queue = lines_[line];
    queue.push_back(entry);
    if (queue.size() == 1) TakeTurn(entry);
  }
}

void WorkerPool::Enqueue(std::function<void()> task) {
  if (shutdown_) return;
  ready_.push_back(std::move(task));
  if (idle_ < static_cast<int>(ready_.size()) && static_cast<int>(threads_.size()) < max_threads_) {
    try {
      threads_.emplace_back([this] { ThreadMain(); });
    } catch (const std::system_error&) {
      // The host has no more processes at this moment. Those that there are do the work; who has none cannot go on.
      if (threads_.empty()) throw;
    }
  }
}

void WorkerPool::TakeTurn(const std::shared_ptr<InLines>& entry) {
  if (--entry->ahead == 0) Enqueue([this, entry] { Run(entry); });
}

void WorkerPool::Run(const std::shared_ptr<InLines>& entry) {
  entry->task();
  entry->task = nullptr;  // what it captured goes before the next one begins
  absl::MutexLock lock(&mutex_);
  // The next one goes behind what is ready, so that a long line does not keep a thread from the other guests.
  for (uint64_t line : entry->lines) {
    auto& queue = lines_[line];
    queue.pop_front();
    if (queue.empty()) {
      lines_.erase(line);
    } else {
      TakeTurn(queue.front());
    }
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
