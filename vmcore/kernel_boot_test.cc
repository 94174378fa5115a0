#include "vmcore/kernel_boot.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

constexpr char kEarlyMounts[] = "\nrootfs / rootfs rw 0 0\n";
constexpr char kEarlyInterrupts[] =
    "\n           CPU0       \n  0:        123  SIGVTALRM  hr timer\n  5:          9  SIGIO    mconsole\n";

TEST(KernelBootTest, TheFirstRootAloneIsNoMount) {
  EXPECT_FALSE(ShowsMounts(kEarlyMounts));
  EXPECT_FALSE(ShowsMounts(""));
  EXPECT_TRUE(ShowsMounts("\n/dev/root / ext4 rw,relatime 0 0\n"));
  EXPECT_TRUE(ShowsMounts("\nrootfs / rootfs rw 0 0\nproc /proc proc rw,relatime 0 0\n"));
}

TEST(KernelBootTest, TheMconsoleIsNoConsole) {
  EXPECT_FALSE(ShowsOpenConsole(kEarlyInterrupts));
  EXPECT_FALSE(ShowsOpenConsole(""));
  EXPECT_TRUE(ShowsOpenConsole("\n  2:          0  SIGIO    console\n"));
  EXPECT_TRUE(ShowsOpenConsole("\n  3:          0  SIGIO    console-write, console-write\n"));
  EXPECT_TRUE(ShowsOpenConsole("\n  6:          0  SIGIO    ssl\n"));
}

class AskWhetherBootedTest : public testing::Test {
 protected:
  AskWhetherBootedTest() {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    EXPECT_TRUE(MakeShownFolder(folder_ + "/replies").ok());
    client_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_ + "/replies");
    kernel_ = std::make_unique<FakeMconsole>(
        loop_.get(), folder_ + "/mconsole", [this](const std::string& command, const FakeMconsole::Peer& from) {
          seen_.push_back(command);
          if (command == silent_) return;
          kernel_->Reply(from, command == "proc 1/mounts" ? mounts_ : interrupts_, mounts_.empty() ? 1 : 0);
        });
  }
  ~AskWhetherBootedTest() override {
    client_.reset();
    kernel_.reset();
    std::filesystem::remove_all(folder_);
  }

  absl::StatusOr<bool> Ask() {
    absl::StatusOr<bool> result = absl::InternalError("no answer");
    AskWhetherBooted(client_.get(), std::chrono::milliseconds(200), [&](const absl::StatusOr<bool>& booted) {
      result = booted;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }

  std::string folder_ = "/tmp/kernel_boot_test.XXXXXX";
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::unique_ptr<MconsoleClient> client_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::string mounts_ = kEarlyMounts, interrupts_ = kEarlyInterrupts, silent_;
  std::vector<std::string> seen_;
};

TEST_F(AskWhetherBootedTest, EitherSignWillDo) {
  EXPECT_EQ(*Ask(), false);
  interrupts_ += "  2:          0  SIGIO    console\n";
  EXPECT_EQ(*Ask(), true);
  interrupts_ = kEarlyInterrupts;
  mounts_ = "\n/dev/root / ext4 rw,relatime 0 0\n";
  EXPECT_EQ(*Ask(), true);
  EXPECT_EQ(seen_.back(), "proc 1/mounts");
}

TEST_F(AskWhetherBootedTest, ARefusalIsNoSign) {
  mounts_.clear();
  EXPECT_EQ(*Ask(), false);
}

TEST_F(AskWhetherBootedTest, SilenceIsAnError) {
  silent_ = "proc 1/mounts";
  EXPECT_TRUE(absl::IsDeadlineExceeded(Ask().status()));
  silent_ = "proc interrupts";
  EXPECT_TRUE(absl::IsDeadlineExceeded(Ask().status()));
}

}  // namespace
}  // namespace umld::vmcore
