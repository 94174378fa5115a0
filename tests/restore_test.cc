// Restores of snapshots: of guests that run, and when something comes between.
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

class Restore : public SharedHost {
 protected:
  void TearDown() override {
    for (const std::string& name : host_->Names()) {
      EXPECT_TRUE(Ok(host_->Run({"snapshot", "delete", name, "--all"})));
    }
    SharedHost::TearDown();
  }
  std::string Unfinished() { return host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out; }
  std::string HalfMade() {
    return host_->Shell("ls *.restore-* " + host_->state_dir() + "/guests/*/*.restore-* 2>/dev/null").out;
  }
};

TEST_F(Restore, WithForceARunningGuestEndsUpRestoredAndStarted) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "echo then > /state; echo ok").out, "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  const auto change = [&] { return host_->RunInGuest("web1", "echo now > /state; sync; echo ok").out == "ok\n"; };
  ASSERT_TRUE(change());
  const CommandResult refused = host_->Run({"snapshot", "restore", "web1", "s"});
  EXPECT_TRUE(Refused(refused, kWrongState, {"web1", "RUNNING"}));
  EXPECT_THAT(refused.err, HasSubstr("umlctl snapshot restore --force web1 s"));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "--force", "web1", "s"})));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /state").out, "then\n");

  // Whenever umld is killed, it runs in the end, on the one disk or the other.
  for (int delay_ms : {0, 60, 400}) {
    SCOPED_TRACE(delay_ms);
    ASSERT_TRUE(change());
    std::unique_ptr<Running> restoring = host_->RunBeside({"snapshot", "restore", "--force", "web1", "s"});
    absl::SleepFor(absl::Milliseconds(25 + delay_ms));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    restoring->Wait(absl::Seconds(60));
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_THAT(host_->RunInGuest("web1", "cat /state").out, testing::AnyOf("then\n", "now\n"));
    EXPECT_EQ(Unfinished(), "");
    EXPECT_EQ(HalfMade(), "");
  }
  // It stays stopped when it was.
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "--force", "web1", "s"})));
  EXPECT_EQ(host_->State("web1"), "STOPPED");
}

// umld is killed at each of its steps with the files, among them when the first of two disks has been replaced and the
// second has not.
TEST_F(Restore, AKillBetweenTwoDisksLosesNeither) {
  ASSERT_TRUE(Ok(host_->Shell("echo then > a; echo then > b; truncate -s 1M a b")));
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdb=a", "--disk", "ubdc=b"}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  struct Step {
    std::string syscall;
    int nth;
    std::string before, after;  // what is in the two before the kill and in the end
  };
  // Three disks: ubda's comes first.
  for (const Step& step : std::vector<Step>{{"copy_file_range", 2, "now.now.", "now.now."},
                                            {"link", 1, "now.now.", "thenthen"},
                                            {"link", 3, "now.now.", "thenthen"},
                                            {"rename", 2, "now.now.", "thenthen"},
                                            {"rename", 3, "thennow.", "thenthen"},
                                            {"unlink", 2, "thenthen", "thenthen"}}) {
    SCOPED_TRACE(step.syscall + " " + std::to_string(step.nth));
    const std::string look = "head -c 4 a; head -c 4 b";
    ASSERT_TRUE(Ok(host_->Shell("for f in a b; do echo now. | dd of=$f conv=notrunc 2>/dev/null; done")));
    ASSERT_TRUE(host_->KillAt(step.syscall, step.nth));
    std::unique_ptr<Running> restoring = host_->RunBeside({"snapshot", "restore", "web1", "s"});
    ASSERT_TRUE(host_->WaitForKill());
    EXPECT_EQ(host_->Shell(look).out, step.before);
    ASSERT_TRUE(host_->Start());
    restoring->Wait(absl::Seconds(60));
    EXPECT_EQ(Unfinished(), "");
    EXPECT_EQ(host_->Shell(look).out, step.after);
    EXPECT_EQ(HalfMade(), "");
  }
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdc"})));
  ASSERT_TRUE(Ok(host_->Shell("rm a b")));
}

TEST_F(Restore, AFullDiskLeavesTheOldDisksAndTheRunningGuest) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
  ASSERT_TRUE(
      Ok(host_->Shell("mkdir small && truncate -s 80M small.img && mke2fs -q -t ext4 small.img && "
                      "mount -o loop small.img small && head -c 30000000 /dev/urandom > small/more")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=small/more"}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_EQ(
      host_->RunInGuest("web1", "echo now. | dd of=/dev/ubdb conv=fsync 2>/dev/null; echo here > /tmp/mark; echo ok")
          .out,
      "ok\n");
  ASSERT_TRUE(Ok(host_->Shell("head -c 30000000 /dev/urandom > small/other")));
  const std::string listed = host_->Shell("ls small").out;
  EXPECT_TRUE(
      Refused(host_->Run({"snapshot", "restore", "--force", "web1", "s"}), kBusyOrExists, {"web1", "ubdb", "more"}));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /tmp/mark; head -c 4 /dev/ubdb").out, "here\nnow.");
  EXPECT_EQ(host_->Shell("ls small").out, listed);
  ASSERT_TRUE(Ok(host_->Shell("rm small/other")));
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "s"})));
  EXPECT_NE(host_->Shell("head -c 4 small/more").out, "now.");
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("umount small && rm small.img && rmdir small")));
}

// A kernel that keeps its messages to itself says that it has synced all the same, and is as quiet as before.
TEST_F(Restore, WhatAQuietGuestHadInMemoryComesBack) {
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--arg", "quiet"}));
  const std::string levels = host_->RunInGuest("web1", "cat /proc/sys/kernel/printk; echo then > /state").out;
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  EXPECT_TRUE(Json::parse(host_->Run({"snapshot", "describe", "web1", "s", "-o", "json"}).out)["synced"]);
  EXPECT_EQ(host_->RunInGuest("web1", "cat /proc/sys/kernel/printk; echo now > /state").out, levels);
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "--force", "web1", "s"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /state").out, "then\n");
}

}  // namespace
}  // namespace umld::tests
