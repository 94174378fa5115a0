#include "vmcore/claim_line.h"

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "base/event_loop.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::vmcore {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class ClaimLineTest : public testing::Test {
 protected:
  ClaimLineTest() {
    loop_ = *EventLoop::Create();
    ClaimLine::Callbacks callbacks;
    callbacks.waiting = [this] { ++waiting_; };
    callbacks.decided = [this](const absl::Status& status) {
      ++decided_;
      status_ = status;
    };
    line_ = *ClaimLine::Create(loop_.get(), std::move(callbacks));
  }
  // The init's end.
  void Say(const std::string& text) {
    ASSERT_EQ(write(line_->kernel_end(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    loop_->RunAfter(std::chrono::milliseconds(20), [this] { loop_->Quit(); });
    loop_->Run();
  }
  std::string Heard() {
    char buffer[8192];
    const ssize_t got = recv(line_->kernel_end(), buffer, sizeof(buffer), MSG_DONTWAIT);
    return got < 0 ? "" : std::string(buffer, static_cast<size_t>(got));
  }

  std::unique_ptr<EventLoop> loop_;
  int waiting_ = 0, decided_ = 0;
  absl::Status status_;
  std::unique_ptr<ClaimLine> line_;
};

TEST_F(ClaimLineTest, WaitsIsClaimedAndReady) {
  Say("wai");
  EXPECT_EQ(waiting_, 0);
  Say("ting\n");
  EXPECT_EQ(waiting_, 1);
  ASSERT_TRUE(line_->Claim("root=/dev/ubda rw init=/bin/sh").ok());
  const std::string first = Heard();
  EXPECT_THAT(first, MatchesRegex("claim [0-9a-f]+ root=/dev/ubda rw init=/bin/sh\n"));
  EXPECT_EQ(first.find(" root"), 6u + 128);
  EXPECT_EQ(decided_, 0);
  Say("ready\n");
  EXPECT_EQ(decided_, 1);
  EXPECT_TRUE(status_.ok());
  // No two kernels get the same random bytes.
  ASSERT_TRUE(line_->Claim("root=/dev/ubda rw init=/bin/sh").ok());
  EXPECT_NE(Heard(), first);
}

TEST_F(ClaimLineTest, WhatIsSaidIsSaidOnce) {
  Say("waiting\n");
  Say("waiting\n");
  EXPECT_EQ(waiting_, 1);
  Say("failed the root: No such file or directory\n");
  Say("ready\n");
  EXPECT_EQ(decided_, 1);
  EXPECT_THAT(std::string(status_.message()), HasSubstr("the root: No such file or directory"));
  EXPECT_EQ(GetErrorDetail(status_).reason, "CLAIM_FAILED");
}

TEST_F(ClaimLineTest, GarbageIsAFailureOfBoundedLength) {
  Say(std::string(100'000, '\x1b'));
  EXPECT_EQ(decided_, 1);
  EXPECT_LT(status_.message().size(), 2000u);
  EXPECT_FALSE(absl::StrContains(status_.message(), "\x1b"));
}

TEST_F(ClaimLineTest, WhatAConsolesInputWouldNotSurviveIsNotSent) {
  EXPECT_EQ(line_->Claim(std::string(4000, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(line_->Claim("rw\nclaim").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Heard(), "");
}

}  // namespace
}  // namespace umld::vmcore
