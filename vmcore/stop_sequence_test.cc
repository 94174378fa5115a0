#include "vmcore/stop_sequence.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;
using Steps = std::vector<std::string>;

class StopSequenceTest : public testing::Test {
 protected:
  StopSequenceTest() {
    folder_ = "/tmp/stop_sequence_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    mconsole_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_);
  }
  ~StopSequenceTest() override {
    stop_.reset();
    mconsole_.reset();
    kernel_.reset();
    std::filesystem::remove_all(folder_);
  }

  // A kernel that answers everything and syncs, but never ends.
  void StartKernel() {
    kernel_ = std::make_unique<FakeMconsole>(
        loop_.get(), folder_ + "/mconsole", [this](const std::string& command, const FakeMconsole::Peer& from) {
          steps_.push_back(command);
          if (!silent_) kernel_->Reply(from, "");
          if (!syncs_ || (command != "sysrq s" && command != "sysrq u")) return;
          console_ += command == "sysrq s" ? "Emergency Sync complete\n" : "Emergency Remount complete\n";
          loop_->Post([this] { stop_->OnConsoleOutput(); });
        });
  }

  void Stop(const StopGraces& graces, bool mconsole_up = true) {
    StopSequence::Kernel kernel;
    kernel.mconsole = mconsole_.get();
    kernel.mconsole_up = mconsole_up;
    kernel.terminate = [this] { steps_.push_back("SIGTERM"); };
    kernel.kill = [this] {
      steps_.push_back("SIGKILL");
      loop_->Quit();
    };
    kernel.console_offset = [this] { return console_.size(); };
    kernel.console_since = [this](uint64_t offset) { return console_.substr(offset); };
    begin_ = EventLoop::Clock::now();
    stop_ = std::make_unique<StopSequence>(loop_.get(), kernel, graces);
  }

  milliseconds Elapsed() const { return std::chrono::duration_cast<milliseconds>(EventLoop::Clock::now() - begin_); }

  static StopGraces Graces(int orderly, int halt, int term) {
    return {false, milliseconds(orderly), milliseconds(halt), milliseconds(term)};
  }

  std::string folder_, console_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::unique_ptr<StopSequence> stop_;
  Steps steps_;
  bool silent_ = false, syncs_ = true;
  EventLoop::Clock::time_point begin_;
};

TEST_F(StopSequenceTest, AllStepsInOrder) {
  StartKernel();
  Stop(Graces(1000, 1000, 60));
  EXPECT_EQ(stop_->stage(), "orderly");
  loop_->Run();
  EXPECT_EQ(steps_, (Steps{"go", "sysrq s", "cad", "sysrq u", "halt", "SIGTERM", "SIGKILL"}));
  EXPECT_EQ(stop_->stage(), "kill");
  EXPECT_GE(Elapsed(), milliseconds(2060));
}

TEST_F(StopSequenceTest, SkipOrderly) {
  StartKernel();
  StopGraces graces = Graces(60, 1000, 60);
  graces.skip_orderly = true;
  Stop(graces);
  loop_->Run();
  EXPECT_EQ(steps_, (Steps{"go", "sysrq u", "halt", "SIGTERM", "SIGKILL"}));
}

TEST_F(StopSequenceTest, ASyncThatNeverEndsIsWaitedForASecond) {
  syncs_ = false;
  StartKernel();
  console_ = "Emergency Sync complete\n";  // of an earlier one
  Stop(Graces(1500, 1, 1));
  loop_->Run();
  EXPECT_EQ(steps_[2], "cad");
  EXPECT_GE(Elapsed(), milliseconds(1500));
}

TEST_F(StopSequenceTest, NothingListens) {
  Stop(Graces(10000, 10000, 50));
  loop_->Run();
  EXPECT_EQ(steps_, (Steps{"SIGTERM", "SIGKILL"}));
}

TEST_F(StopSequenceTest, NotYetUp) {
  StartKernel();
  Stop(Graces(10000, 10000, 50), /*mconsole_up=*/false);
  EXPECT_EQ(stop_->stage(), "sigterm");
  loop_->Run();
  EXPECT_EQ(steps_, (Steps{"SIGTERM", "SIGKILL"}));
}

TEST_F(StopSequenceTest, ASilentKernelIsNotWaitedForBeyondTheGraces) {
  silent_ = true;
  syncs_ = false;
  StartKernel();
  Stop(Graces(50, 50, 50));  // together far less than the second that "go" is waited for
  loop_->Run();
  EXPECT_EQ(steps_, (Steps{"go", "SIGTERM", "SIGKILL"}));
}

TEST_F(StopSequenceTest, ANewerRequestOnlyShortens) {
  StartKernel();
  Stop(Graces(10000, 10000, 10000));
  loop_->RunAfter(milliseconds(50), [&] {
    stop_->Shorten(Graces(20000, 20000, 20000));
    EXPECT_EQ(stop_->stage(), "orderly");
  });
  loop_->RunAfter(milliseconds(100), [&] {
    StopGraces graces = Graces(20000, 40, 40);
    graces.skip_orderly = true;
    stop_->Shorten(graces);
    EXPECT_EQ(stop_->stage(), "halt");
  });
  loop_->Run();
  EXPECT_EQ(steps_.back(), "SIGKILL");
}

}  // namespace
}  // namespace umld::vmcore
