// The thread sanitizer sees a race, and takes nothing that absl orders for one. Skipped in builds without it.
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

#ifdef SANITIZED_FOR_THREADS
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// What the sanitizer ends a program with.
constexpr int kSanitizersExitCode = 66;

class Tsan : public testing::Test {
 protected:
  void SetUp() override {
    if (!kSanitized) GTEST_SKIP() << "not built with --config=tsan";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

// `body` in this many threads at once.
template <typename Body>
void InThreads(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Tsan, SeesARace) {
  auto race = [] {
    int x = 0;
    InThreads(2, [&](int) {
      for (int i = 0; i < 1000; ++i) ++x;
    });
  };
  EXPECT_EXIT(race(), testing::ExitedWithCode(kSanitizersExitCode), "data race");
}

TEST_F(Tsan, SeesARaceWithWhatAMutexGuardsInOneThreadAlone) {
  auto race = [] {
    absl::Mutex mutex;
    int x = 0;
    InThreads(2, [&](int thread) {
      for (int i = 0; i < 1000; ++i) {
        if (thread == 0) mutex.Lock();
        ++x;
        if (thread == 0) mutex.Unlock();
      }
    });
  };
  EXPECT_EXIT(race(), testing::ExitedWithCode(kSanitizersExitCode), "data race");
}

TEST_F(Tsan, SeesAnEndThatANotificationDoesNotTellOf) {
  auto race = [] {
    int x = 0;
    absl::Notification begun;
    std::thread thread([&] {
      begun.Notify();
      x = 1;
    });
    begun.WaitForNotification();
    x = 2;
    thread.join();
  };
  EXPECT_EXIT(race(), testing::ExitedWithCode(kSanitizersExitCode), "data race");
}

TEST_F(Tsan, SeesMutexes) {
  absl::Mutex mutex;
  int x = 0;
  InThreads(4, [&](int thread) {
    for (int i = 0; i < 1000; ++i) {
      if (thread == 3) {
        absl::ReaderMutexLock lock(&mutex);
        EXPECT_GE(x, 0);
      } else if (thread == 1) {
        absl::ReleasableMutexLock lock(&mutex);
        ++x;
        lock.Release();
      } else if (thread == 2 && mutex.TryLock()) {
        ++x;
        mutex.Unlock();
      } else {
        absl::MutexLock lock(&mutex);
        ++x;
      }
    }
  });
  EXPECT_EQ(x, 3000);
}

TEST_F(Tsan, IgnoresWhatAMutexDoesForItself) {
  struct Pair {
    absl::Mutex first, second;
    int x = 0;
  };
  InThreads(4, [](int) {
    for (int i = 0; i < 2000; ++i) {
      auto pair = std::make_unique<Pair>();
      absl::MutexLock first(&pair->first);
      absl::MutexLock second(&pair->second);
      ++pair->x;
    }
  });
}

TEST_F(Tsan, SeesWaits) {
  absl::Mutex mutex;
  absl::CondVar changed;
  int turn = 0;
  InThreads(3, [&](int thread) {
    for (int i = 0; i < 50; ++i) {
      absl::MutexLock lock(&mutex);
      if (thread == 0) {
        auto mine = [&] { return turn % 3 == 0; };
        mutex.Await(absl::Condition(&mine));
      } else {
        while (turn % 3 != thread) changed.WaitWithTimeout(&mutex, absl::Milliseconds(5));
      }
      ++turn;
      changed.SignalAll();
    }
  });
  EXPECT_EQ(turn, 150);
}

TEST_F(Tsan, SeesNotificationsAndCounters) {
  for (int i = 0; i < 50; ++i) {
    int x = 0, parts[3] = {};
    absl::Notification done;
    absl::BlockingCounter left(3);
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
      x = 1;
      done.Notify();
    });
    for (int& part : parts) {
      threads.emplace_back([&] {
        part = 1;
        left.DecrementCount();
      });
    }
    // Once in two it is over before anybody waits.
    if (i % 2 == 0) absl::SleepFor(absl::Milliseconds(2));
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::InfiniteDuration()));
    x = 2;
    left.Wait();
    for (int& part : parts) part = 2;
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
