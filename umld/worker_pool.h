#ifndef UMLD_UMLD_WORKER_POOL_H_
#define UMLD_UMLD_WORKER_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umld {

// Threads for work that blocks (on the disk, on a guest), with lines in which tasks run one after another.
// Thread-safe. Threads are started as they are needed, up to the bound, and kept.
class WorkerPool {
 public:
  explicit WorkerPool(int max_threads) : max_threads_(max_threads) {}
  // Waits for what runs; what has not begun is dropped (its intent is in the database).
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `task` on some thread, soon.
  void Submit(std::function<void()> task);
  // Runs `task` after all tasks submitted to the same line before it.
  void SubmitInLine(uint64_t line, std::function<void()> task) { SubmitInLines({line}, std::move(task)); }
  // Runs `task` when its turn has come in all of these lines, and holds up all of them until it is done. No thread
  // waits for that; and since it takes its place in all lines at once, no two such tasks wait for one another.
  void SubmitInLines(const std::set<uint64_t>& lines, std::function<void()> task);
  // No new task begins; returns when the running ones are done. Idempotent.
  void Shutdown();

 private:
  struct InLines {
    std::function<void()> task;
    std::set<uint64_t> lines;
    size_t ahead = 0;  // lines in which its turn has not come yet
  };

  void Enqueue(std::function<void()> task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // In one more line it is its turn.
  void TakeTurn(const std::shared_ptr<InLines>& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run(const std::shared_ptr<InLines>& entry);
  void ThreadMain();

  const int max_threads_;
  absl::Mutex mutex_;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  int idle_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::function<void()>> ready_ ABSL_GUARDED_BY(mutex_);
  // A line exists while it has a task; the first one's turn it is, or it runs.
  std::map<uint64_t, std::deque<std::shared_ptr<InLines>>> lines_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace umld

#endif  // UMLD_UMLD_WORKER_POOL_H_
