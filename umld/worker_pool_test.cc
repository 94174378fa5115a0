#include "umld/worker_pool.h"

#include <atomic>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(WorkerPool, ALineRunsInOrderOneAtATime) {
  WorkerPool pool(8);
  std::vector<int> order;  // unguarded on purpose: the line is what keeps it safe
  std::atomic<int> inside = 0;
  bool overlapped = false;
  absl::BlockingCounter left(1000);
  for (int i = 0; i < 1000; ++i) {
    pool.SubmitInLine(7, [&, i] {
      overlapped = overlapped || ++inside != 1;
      order.push_back(i);
      --inside;
      left.DecrementCount();
    });
  }
  left.Wait();
  EXPECT_FALSE(overlapped);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(WorkerPool, ABlockedLineDoesNotHoldUpOthers) {
  WorkerPool pool(2);
  absl::Notification release, other_ran;
  pool.SubmitInLine(1, [&] { release.WaitForNotification(); });
  pool.SubmitInLine(1, [] {});
  pool.SubmitInLine(2, [&] { other_ran.Notify(); });
  other_ran.WaitForNotification();
  release.Notify();
}

TEST(WorkerPool, ShutdownWaitsForWhatRunsAndDropsTheRest) {
  WorkerPool pool(1);
  absl::Notification started;
  std::atomic<bool> finished = false, dropped_ran = false;
  pool.Submit([&] {
    started.Notify();
    absl::SleepFor(absl::Milliseconds(20));
    finished = true;
  });
  pool.Submit([&] { dropped_ran = true; });
  started.WaitForNotification();
  pool.Shutdown();
  EXPECT_TRUE(finished);
  EXPECT_FALSE(dropped_ran);
}

}  // namespace
}  // namespace umld
