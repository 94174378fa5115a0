#include "vmcore/balloon.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/status.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A balloon against a kernel with so much memory free, and so much in caches that it frees when asked twice.
class BalloonTest : public testing::Test {
 protected:
  BalloonTest() {
    folder_ = "/tmp/balloon_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    mconsole_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_);
    kernel_ = std::make_unique<FakeMconsole>(
        loop_.get(), folder_ + "/mconsole",
        [this](const std::string& command, const FakeMconsole::Peer& from) { Answer(command, from); });
    balloon_ = std::make_unique<Balloon>(loop_.get(), mconsole_.get(), 128 * kMiB, milliseconds(300));
  }
  ~BalloonTest() override {
    balloon_.reset();
    mconsole_.reset();
    kernel_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Answer(const std::string& command, const FakeMconsole::Peer& from) {
    if (command == "proc sys/vm/watermark_boost_factor") {
      kernel_->Reply(from, boost_.empty() ? "Failed to open file" : boost_, boost_.empty() ? 1 : 0);
      return;
    }
    if (command == "proc meminfo") {
      if (free_ < 4 * kMiB && cached_ > 0 && ++asked_ > 1) free_ += std::exchange(cached_, 0);
      kernel_->Reply(from, absl::StrCat("\nMemTotal:         118000 kB\nMemFree:          ", free_ >> 10,
                                        " kB\nMemAvailable:      ", (free_ + claimed_ + cached_) >> 10, " kB\n"));
      return;
    }
    commands_.push_back(command);
    if (command == silent_) return;
    if (command == "stop" || command == "go" || command == "version") {
      if (command != "version") stopped_ = command == "stop";
      kernel_->Reply(from, "");
      return;
    }
    uint64_t kib = 0;
    ASSERT_TRUE(absl::StartsWith(command, "config mem=") && absl::EndsWith(command, "K")) << command;
    ASSERT_TRUE(absl::SimpleAtoi(command.substr(12, command.size() - 13), &kib)) << command;
    if (command[11] == '-') {
      EXPECT_LE(kib << 10, free_) << "the kernel would stop half way, with no word of it";
      free_ -= kib << 10;
      if (!stopped_) lowest_free_ = std::min(lowest_free_, free_);
      // What was used once is as good as taken last.
      used_once_ = std::min(used_once_, free_);
      if (when_taken_) when_taken_();
    } else {
      free_ += kib << 10;
    }
    kernel_->Reply(from, "");
  }

  absl::Status Change(int64_t mib) {
    absl::Status result = absl::InternalError("no answer");
    bool waits = false;
    auto done = [&](const absl::Status& status) {
      result = status;
      if (waits) loop_->Quit();
    };
    mib < 0 ? balloon_->Take(static_cast<uint64_t>(-mib) * kMiB, done)
            : balloon_->Give(static_cast<uint64_t>(mib) * kMiB, done);
    // Refusals that need no question come at once.
    waits = absl::IsInternal(result);
    if (waits) loop_->Run();
    return result;
  }

  uint64_t OnHost() const { return (uint64_t{118000} << 10) - 90 * kMiB + used_once_; }
  // A pulse that is worth it if it brings 8 MiB.
  absl::Status Pulse() {
    absl::Status result = absl::InternalError("no answer");
    bool waits = false;
    balloon_->Pulse(
        8 * kMiB, [this] { return OnHost(); },
        [&](const absl::Status& status) {
          result = status;
          if (waits) loop_->Quit();
        });
    waits = absl::IsInternal(result);
    if (waits) loop_->Run();
    return result;
  }

  absl::Status GiveOwed() {
    absl::Status result;
    balloon_->GiveOwed([&](const absl::Status& status) {
      result = status;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }

  std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::unique_ptr<Balloon> balloon_;
  std::vector<std::string> commands_;
  uint64_t free_ = 90 * kMiB, cached_ = 0;
  uint64_t claimed_ = 0;              // said to be available, and never freed
  uint64_t used_once_ = 0;            // of what is free
  uint64_t lowest_free_ = 90 * kMiB;  // while it ran
  bool stopped_ = false;
  std::function<void()> when_taken_;
  int asked_ = 0;
  std::string boost_ = "\n0\n";  // watermark_boost_factor; empty: there is no such file
  std::string silent_;
};

TEST_F(BalloonTest, TakesAndGivesBack) {
  EXPECT_TRUE(Change(-64).ok());
  EXPECT_EQ(balloon_->lent(), 64 * kMiB);
  EXPECT_EQ(commands_, std::vector<std::string>{"config mem=-65536K"});
  EXPECT_TRUE(Change(24).ok());
  EXPECT_EQ(balloon_->lent(), 40 * kMiB);
  EXPECT_EQ(commands_.back(), "config mem=+24576K");
}

TEST_F(BalloonTest, LeavesWhatAKernelNeeds) {
  absl::Status status = Change(-97);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "it has 128M, and a UML kernel needs at least 32M");
  EXPECT_TRUE(Change(-64).ok());
  EXPECT_FALSE(Change(-64).ok()) << "what is lent already counts";
  EXPECT_EQ(commands_.size(), 1U);
}

TEST_F(BalloonTest, LeavesWhatTheGuestUses) {
  free_ = 40 * kMiB;
  absl::Status status = Change(-48);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).reason, "MEMORY_LIMIT");
  EXPECT_TRUE(commands_.empty());
}

TEST_F(BalloonTest, LeavesWhatTheKernelMayKeepForItself) {
  free_ = 30 * kMiB;
  for (const char* boost : {"\n15000\n", ""}) {
    boost_ = boost;
    EXPECT_EQ(Change(-26).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(commands_.empty());
  }
  boost_ = "\n0\n";
  EXPECT_TRUE(Change(-26).ok());
}

TEST_F(BalloonTest, CachesAreWaitedFor) {
  free_ = 20 * kMiB;
  cached_ = 60 * kMiB;
  EXPECT_TRUE(Change(-64).ok());
  EXPECT_EQ(balloon_->lent(), 64 * kMiB);
  EXPECT_GT(commands_.size(), 1U);
}

TEST_F(BalloonTest, AllOrNothing) {
  free_ = 20 * kMiB;
  claimed_ = 60 * kMiB;
  absl::Status status = Change(-64);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(balloon_->lent(), 0U);
  EXPECT_EQ(free_, 20 * kMiB) << "what was taken on the way is given back";
}

TEST_F(BalloonTest, OnlyWhatIsLentComesBack) {
  EXPECT_TRUE(Change(-16).ok());
  absl::Status status = Change(17);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "only what was taken can be given back, and that is 16M");
}

TEST_F(BalloonTest, AKernelThatDoesNotAnswer) {
  silent_ = "config mem=-16384K";
  EXPECT_EQ(Change(-16).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(balloon_->lent(), 0U);
  EXPECT_EQ(commands_.back(), "config mem=+16384K") << "it may have been taken";
}

TEST_F(BalloonTest, APulseTakesWhatIsFreeAndGivesItBack) {
  used_once_ = 60 * kMiB;
  EXPECT_TRUE(Pulse().ok());
  EXPECT_EQ(balloon_->lent(), 0U);
  EXPECT_EQ(free_, 90 * kMiB);
  EXPECT_GE(lowest_free_, 32 * kMiB) << "a guest that wakes up needs some";
  EXPECT_LT(lowest_free_, 35 * kMiB) << "it is stopped for some milliseconds only";
  EXPECT_FALSE(stopped_);
  ASSERT_GT(commands_.size(), 20U) << "in small pieces";
  EXPECT_EQ(commands_[commands_.size() - 4], "stop");
  EXPECT_EQ(commands_.back(), "go");
  const Balloon::Reclaimed& got = balloon_->reclaimed();
  EXPECT_EQ(got.count, 1U);
  EXPECT_GT(got.bytes, 57 * kMiB);
  EXPECT_EQ(got.total_bytes, got.bytes);
  EXPECT_GT(got.longest_stop, EventLoop::Clock::duration::zero());
  EXPECT_GT(got.unix_ns, 0);
}

TEST_F(BalloonTest, APulseThatIsNotWorthIt) {
  used_once_ = 11 * kMiB;
  EXPECT_TRUE(Pulse().ok());
  EXPECT_TRUE(commands_.empty());
  EXPECT_EQ(balloon_->reclaimed().count, 0U);
}

TEST_F(BalloonTest, APulseStopsWhereTheGuestBeginsToUseIt) {
  used_once_ = 60 * kMiB;
  when_taken_ = [this] { free_ = 3 * kMiB; };
  EXPECT_TRUE(Pulse().ok());
  EXPECT_EQ(commands_, (std::vector<std::string>{"config mem=-2048K", "config mem=+2048K"}));
  EXPECT_EQ(balloon_->lent(), 0U);
}

TEST_F(BalloonTest, APulseIsEndedForWhateverElseIsAsked) {
  used_once_ = 60 * kMiB;
  std::vector<std::string> order;
  when_taken_ = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return;
    balloon_->Take(16 * kMiB, [&](const absl::Status& status) {
      order.push_back(absl::StrCat("taken ", status.ok()));
      if (order.size() == 3) loop_->Quit();
    });
    balloon_->AfterAll([&] {
      order.push_back(absl::StrCat("after, lent ", balloon_->lent() / kMiB));
      if (order.size() == 3) loop_->Quit();
    });
  };
  balloon_->Pulse(
      8 * kMiB, [this] { return OnHost(); },
      [&](const absl::Status& status) { order.push_back(absl::StrCat("pulse ", status.ok())); });
  loop_->Run();
  EXPECT_EQ(order, (std::vector<std::string>{"pulse 1", "taken 1", "after, lent 16"}));
  EXPECT_EQ(commands_, (std::vector<std::string>{"config mem=-2048K", "config mem=+2048K", "config mem=-16384K"}));
  // And what is lent by hand stays so.
  absl::Status status = Pulse();
  EXPECT_EQ(GetErrorDetail(status).reason, "MEMORY_LENT");
  EXPECT_EQ(balloon_->lent(), 16 * kMiB);
}

TEST_F(BalloonTest, WhatAPulseCannotGiveBackIsOwed) {
  used_once_ = 60 * kMiB;
  when_taken_ = [this] { free_ = 3 * kMiB; };
  silent_ = "config mem=+2048K";
  EXPECT_EQ(Pulse().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(balloon_->lent(), 2 * kMiB) << "the guest does not have it";
  EXPECT_EQ(balloon_->owed(), 2 * kMiB);
  EXPECT_EQ(GetErrorDetail(Pulse()).reason, "MEMORY_LENT");
  EXPECT_EQ(GiveOwed().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(balloon_->owed(), 2 * kMiB);
  silent_.clear();
  EXPECT_TRUE(GiveOwed().ok());
  EXPECT_EQ(balloon_->owed(), 0U);
  EXPECT_EQ(balloon_->lent(), 0U);
}

TEST_F(BalloonTest, NobodyElseFindsTheGuestStopped) {
  used_once_ = 60 * kMiB;
  std::string found;
  when_taken_ = [&] {
    if (stopped_ && found.empty()) {
      found = "asked";
      mconsole_->Send("version", milliseconds(300), [&](const auto&) { found = stopped_ ? "stopped" : "running"; });
    }
  };
  EXPECT_TRUE(Pulse().ok());
  loop_->RunAfter(milliseconds(50), [this] { loop_->Quit(); });
  loop_->Run();
  EXPECT_EQ(commands_.back(), "version");
  EXPECT_EQ(found, "running");
}

TEST_F(BalloonTest, AGuestThatIsNotHeardToGoOnIsToldAgain) {
  used_once_ = 60 * kMiB;
  silent_ = "go";
  EXPECT_EQ(Pulse().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(commands_.back(), "go");
  EXPECT_TRUE(balloon_->owes());
  EXPECT_EQ(balloon_->lent(), 0U);
  EXPECT_TRUE(stopped_);
  silent_.clear();
  EXPECT_TRUE(GiveOwed().ok());
  EXPECT_FALSE(balloon_->owes());
  EXPECT_FALSE(stopped_);
  EXPECT_EQ(free_, 90 * kMiB);
}

TEST_F(BalloonTest, OneChangeAtATime) {
  std::vector<absl::StatusCode> codes;
  auto note = [&](const absl::Status& status) { codes.push_back(status.code()); };
  balloon_->Take(kMiB, note);
  balloon_->Take(kMiB, note);
  balloon_->Abandon("the guest's kernel has ended");
  mconsole_->Abandon("the guest's kernel has ended");
  EXPECT_EQ(codes, (std::vector<absl::StatusCode>{absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled}));
}

}  // namespace
}  // namespace umld::vmcore
