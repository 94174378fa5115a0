// The host's disk fills up under guests that write: none of them loses anything.
#include <signal.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DiskFull : public testing::Test {
 protected:
  void SetUp() override {
    if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
    small_ = host_.Work("small");
    ASSERT_TRUE(
        Ok(host_.Shell("mkdir small && truncate -s 1200M small.img && mke2fs -q -t ext4 small.img && "
                       "mount -o loop small.img small && chmod 755 .")));
    mounted_ = true;
    ASSERT_TRUE(host_.Start());
  }
  void TearDown() override {
    host_.Run({"delete", "--all", "--force"});
    if (mounted_) {
      EXPECT_TRUE(Ok(host_.Shell("umount small && rm small.img && rmdir small")));
    }
  }
  bool Happened(const std::string& type) {
    for (const Json& event : host_.Events()) {
      if (event["type"] == type) return true;
    }
    return false;
  }

  Host host_;
  std::string small_;
  bool mounted_ = false;
};

TEST_F(DiskFull, GuestsThatNeedItArePausedAndGoOn) {
  ASSERT_TRUE(Ok(host_.Shell("truncate -s 300M small/data && mke2fs -q -t ext4 small/data")));
  ASSERT_TRUE(host_.CreateAndStart("web1", {"--disk", "ubdb=small/data"}));
  ASSERT_TRUE(host_.CreateAndStart("web2"));
  ASSERT_EQ(host_.RunInGuest("web1", "mount /dev/ubdb /mnt && echo up").out, "up\n");
  // Somebody else fills the disk while the guest writes. The host is busy, so that the pause takes a while.
  const pid_t vmcore = host_.Describe("web1")["processes"].value("supervisor_pid", 0);
  ASSERT_GT(vmcore, 0);
  ASSERT_EQ(kill(vmcore, SIGSTOP), 0);
  ASSERT_TRUE(
      Ok(host_.Shell("fallocate -l $(($(stat -f -c %a small) * $(stat -f -c %S small) - 100 * 1048576)) small/other")));
  EXPECT_TRUE(WaitFor([&] { return Happened("host.disk_full"); }));
  absl::SleepFor(absl::Milliseconds(500));
  ASSERT_EQ(kill(vmcore, SIGCONT), 0);
  ASSERT_TRUE(host_.WaitForState("web1", "PAUSED"));
  EXPECT_THAT(host_.Run({"describe", "web1"}).out, AllOf(HasSubstr("PAUSED"), HasSubstr(small_), HasSubstr("is full")));
  EXPECT_EQ(host_.State("web2"), "RUNNING") << "its disk is elsewhere";
  EXPECT_TRUE(Happened("host.disk_full"));

  // A new umld knows that it was not a user who paused it.
  host_.Kill9();
  ASSERT_TRUE(host_.Start());
  EXPECT_EQ(host_.State("web1"), "PAUSED");
  ASSERT_TRUE(Ok(host_.Shell("rm small/other")));
  ASSERT_TRUE(host_.WaitForState("web1", "RUNNING"));
  EXPECT_TRUE(WaitFor([&] { return Happened("host.disk_free"); }));
  EXPECT_EQ(host_
                .RunInGuest("web1",
                            "dd if=/dev/zero of=/mnt/x bs=1M count=50 2>/dev/null && sync && umount /mnt && "
                            "echo written")
                .out,
            "written\n");

  // What somebody paused stays paused.
  ASSERT_TRUE(Ok(host_.Run({"pause", "web1"})));
  EXPECT_EQ(host_.Describe("web1").value("pause_reason", ""), "");
}

TEST_F(DiskFull, AGuestThatFillsItItselfLosesNothing) {
  ASSERT_TRUE(Ok(host_.Shell("truncate -s 4G small/data")));
  ASSERT_TRUE(host_.CreateAndStart("web1", {"--disk", "ubdb=small/data"}));
  EXPECT_EQ(host_
                .RunInGuest("web1",
                            "(i=0; while dd if=/dev/zero of=/dev/ubdb bs=1M seek=$i count=32 conv=fsync; do "
                            "i=$((i+32)); done) >/dev/null 2>&1 & echo writing")
                .out,
            "writing\n");
  ASSERT_TRUE(host_.WaitForState("web1", "PAUSED"));
  ASSERT_TRUE(Ok(host_.Run({"kill", "web1"})));
  EXPECT_THAT(host_.Run({"logs", "web1"}).out, testing::Not(HasSubstr("I/O error")));
}

TEST(StateDiskFull, GuestsAreStillEndedAndDeleted) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
  Host host;
  ASSERT_TRUE(Ok(host.Shell("truncate -s 200M small.img && mke2fs -q -t ext4 small.img && mount -o loop small.img " +
                            host.state_dir() + " && rmdir " + host.state_dir() + "/lost+found")));
  ASSERT_TRUE(host.Start());
  for (const char* name : {"web1", "web2", "web3"}) ASSERT_TRUE(host.CreateAndStart(name));
  const std::string fill = host.state_dir() + "/fill";
  EXPECT_FALSE(Ok(host.Shell("cat /dev/zero >" + fill + " 2>/dev/null")));
  EXPECT_EQ(host.Shell("stat -f -c %a " + host.state_dir()).out, "0\n");

  EXPECT_TRUE(Ok(host.Run({"kill", "web1"})));
  EXPECT_TRUE(Ok(host.Run({"stop", "web2"})));
  EXPECT_TRUE(Ok(host.Run({"delete", "web1", "web2"})));
  EXPECT_TRUE(Ok(host.Run({"delete", "--force", "web3"})));
  host.Stop();
  EXPECT_TRUE(Ok(host.Shell("umount " + host.state_dir())));
}

}  // namespace
}  // namespace umld::tests
