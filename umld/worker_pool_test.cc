#include "umld/worker_pool.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <set>
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

// Those that it has do the work.
TEST(WorkerPool, AHostThatGivesNoMoreThreadsIsNotItsEnd) {
  const auto without_more = [] {
    WorkerPool pool(8);
    absl::Notification first, release;
    pool.Submit([&] {
      first.Notify();
      release.WaitForNotification();
    });
    first.WaitForNotification();
    // There is no memory for a stack of this size.
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, size_t{1} << 46) != 0 || pthread_setattr_default_np(&attributes) != 0) {
      _exit(1);
    }
    absl::Notification second;
    pool.Submit([&] { second.Notify(); });
    release.Notify();
    second.WaitForNotification();
    _exit(0);
  };
  EXPECT_EXIT(without_more(), testing::ExitedWithCode(0), "");
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

TEST(WorkerPool, ATaskInManyLinesIsAloneInEach) {
  WorkerPool pool(8);
  constexpr int kLines = 5, kTasks = 2000;
  std::atomic<int> inside[kLines] = {};
  std::vector<int> order[kLines];  // unguarded on purpose: the lines are what keeps them safe
  std::atomic<bool> overlapped = false;
  absl::BlockingCounter left(kTasks);
  std::vector<int> expected[kLines];
  for (int i = 0; i < kTasks; ++i) {
    std::set<uint64_t> lines;  // overlapping sets of one to three, in every order
    for (int k = 0; k <= i % 3; ++k) lines.insert(static_cast<uint64_t>((i * 7 + k * 3) % kLines));
    for (uint64_t line : lines) expected[line].push_back(i);
    pool.SubmitInLines(lines, [&, i, lines] {
      for (uint64_t line : lines) {
        if (++inside[line] != 1) overlapped = true;
        order[line].push_back(i);
      }
      for (uint64_t line : lines) --inside[line];
      left.DecrementCount();
    });
  }
  left.Wait();
  EXPECT_FALSE(overlapped);
  for (int line = 0; line < kLines; ++line) EXPECT_EQ(order[line], expected[line]);
}

TEST(WorkerPool, WaitingInManyLinesTakesNoThread) {
  WorkerPool pool(2);
  absl::Notification release, all_ran, other_ran;
  pool.SubmitInLine(1, [&] { release.WaitForNotification(); });
  // All of these wait for line 1, and hold up the other lines without a thread.
  absl::BlockingCounter left(100);
  for (uint64_t i = 0; i < 100; ++i) pool.SubmitInLines({1, i + 2}, [&] { left.DecrementCount(); });
  pool.SubmitInLine(1000, [&] { other_ran.Notify(); });
  other_ran.WaitForNotification();
  release.Notify();
  left.Wait();
  std::set<uint64_t> many;
  for (uint64_t i = 0; i < 100; ++i) many.insert(i);
  pool.SubmitInLines(many, [&] { all_ran.Notify(); });
  all_ran.WaitForNotification();
}

TEST(WorkerPool, InNoLineItRunsAtOnce) {
  WorkerPool pool(1);
  absl::Notification ran;
  pool.SubmitInLines({}, [&] { ran.Notify(); });
  ran.WaitForNotification();
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
