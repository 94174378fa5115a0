// Snapshots: what was written inside a guest comes back as it was, and nothing goes wrong in between.
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

class Snapshots : public SharedHost {
 protected:
  void TearDown() override {
    for (const std::string& name : host_->Names()) {
      EXPECT_TRUE(Ok(host_->Run({"snapshot", "delete", name, "--all"})));
    }
    EXPECT_EQ(host_->Shell("ls " + host_->state_dir() + "/snapshots 2>/dev/null").out, "");
    SharedHost::TearDown();
  }
  std::string List(const std::string& guest) { return host_->Run({"snapshot", "list", guest, "-o", "name"}).out; }
  static constexpr char kSum[] = "md5sum /data";
};

TEST_F(Snapshots, OfARunningGuestThatWritesComesBackWhole) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 64M more && mke2fs -q -t ext4 more")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more"}));
  ASSERT_EQ(host_
                ->RunInGuest("web1",
                             "mount /dev/ubdb /mnt && head -c 3000000 /dev/urandom > /data; "
                             "cp /data /mnt/data; echo made")
                .out,
            "made\n");
  const std::string sum = host_->RunInGuest("web1", kSum).out;
  ASSERT_THAT(sum, HasSubstr("/data"));
  // Something goes on writing meanwhile.
  host_->RunInGuest(
      "web1", "sh -c 'while true; do head -c 100000 /dev/urandom > /mnt/busy; sync; done' >/dev/null 2>&1 & true");

  const CommandResult made = host_->Run({"snapshot", "create", "web1", "before", "--description", "a text"});
  ASSERT_TRUE(Ok(made));
  EXPECT_THAT(made.out, HasSubstr("web1: snapshot before, paused "));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  const Json shown = Json::parse(host_->Run({"snapshot", "list", "web1", "-o", "json"}).out)[0];
  EXPECT_EQ(shown["name"], "guests/web1/snapshots/before");
  EXPECT_EQ(shown["description"], "a text");
  EXPECT_TRUE(shown["synced"]) << "written by the guest without a sync of its own";
  ASSERT_EQ(shown["disks"].size(), 2u);

  EXPECT_EQ(host_->RunInGuest("web1", "echo changed > /data; echo changed > /mnt/data; sync; echo ok").out, "ok\n");
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "restore", "web1", "before"}), kWrongState, {"web1", "RUNNING"}));
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "before"})));
  // The other disk's journal is replayed, and then nothing is wrong with it. 0: clean; 1: replayed.
  EXPECT_EQ(host_->Shell("e2fsck -p more >/dev/null; test $? -le 1 && e2fsck -fn more >/dev/null; echo $?").out, "0\n");
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", kSum).out, sum);
  EXPECT_EQ(host_->RunInGuest("web1", "mount /dev/ubdb /mnt && cmp /data /mnt/data && echo same").out, "same\n");
  // The root disk as a filesystem, with its image under it.
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  const std::string cow = DiskOf(host_->Describe("web1"), "ubda")["path"];
  ASSERT_TRUE(Ok(host_->Run({"disk", "commit", cow, "--image", "merged"})));
  ASSERT_TRUE(Ok(host_->Run({"image", "export", "merged", "merged.img"})));
  EXPECT_TRUE(Ok(host_->Shell("e2fsck -fn merged.img")));
  EXPECT_TRUE(Ok(host_->Run({"image", "delete", "merged"})));
  ASSERT_TRUE(Ok(host_->Shell("rm -f merged.img more")));
}

TEST_F(Snapshots, OfAStoppedGuestAndAnyOfThemCanBeRestored) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "empty"}))) << "it has never been started";
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "empty"})));
  for (const std::string state : {"one", "two"}) {
    ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
    ASSERT_EQ(host_->RunInGuest("web1", "echo " + state + " > /state; sync; echo ok").out, "ok\n");
    ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
    EXPECT_EQ(host_->Run({"snapshot", "create", "web1", state}).out, "web1: snapshot " + state + "\n");
  }
  EXPECT_EQ(List("web1"), "empty\none\ntwo\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "two"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "one"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /state").out, "one\n");
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "empty"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "test -e /state || echo none").out, "none\n");
}

TEST_F(Snapshots, KeepsItsGuestAndItsImage) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M more")));
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdb=more"}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "kept"})));
  EXPECT_TRUE(Refused(host_->Run({"delete", "web1", "--force"}), kWrongState, {"web1", "1 snapshot"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", "tiny"}), kWrongState, {"tiny", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "restore", "web1", "kept"}), kWrongState, {"web1", "ubdb", "more"}));
  EXPECT_EQ(host_->Shell("rm more; ls").out.find("restore"), std::string::npos) << "something half-made stayed";
}

TEST_F(Snapshots, APausedGuestStaysPaused) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  EXPECT_EQ(host_->State("web1"), "PAUSED");
}

TEST_F(Snapshots, RefusesWhatCannotBe) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "nobody", "s"}), kNotFound, {"nobody"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "web1", "a b"}), kUsage, {"name"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "web1", std::string(65, 'x')}), kUsage, {"name"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "restore", "web1", "s"}), kNotFound, {"web1", "\"s\""}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "delete", "web1", "s"}), kNotFound, {"web1", "\"s\""}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "web1", "s"}), kBusyOrExists, {"web1", "\"s\""}));
  EXPECT_EQ(List("web1"), "s\n");
}

// Whenever umld is killed: the guest runs, the snapshot is there whole or not at all, and nothing is left over.
TEST_F(Snapshots, SurvivesAKillOfUmldWhileOneIsTaken) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "head -c 20000000 /dev/urandom > /data; echo ok").out, "ok\n");
  for (int delay_ms : {0, 20, 60, 120, 250}) {
    SCOPED_TRACE(delay_ms);
    const std::string name = "s" + std::to_string(delay_ms);
    std::unique_ptr<Running> taking = host_->RunBeside({"snapshot", "create", "web1", name});
    absl::SleepFor(absl::Milliseconds(25 + delay_ms));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    taking->Wait(absl::Seconds(60));
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    EXPECT_EQ(host_->RunInGuest("web1", "echo here").out, "here\n");
    EXPECT_EQ(host_->Shell("ls " + host_->state_dir() + "/snapshots 2>/dev/null | wc -l").out,
              host_->Shell("printf '" + List("web1") + "' | wc -l").out);
  }
}

// In the middle of the pause.
TEST_F(Snapshots, TheNextUmldLetsAGuestGoOnThatThisOneHadPaused) {
  ASSERT_TRUE(Ok(host_->Shell("head -c 500000000 /dev/urandom > more")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more"}));
  ASSERT_TRUE(host_->KillAt("copy_file_range", 1));
  std::unique_ptr<Running> taking = host_->RunBeside({"snapshot", "create", "web1", "s"});
  ASSERT_TRUE(host_->WaitForKill());
  EXPECT_EQ(host_->Shell("ls " + host_->run_dir() + "/guests/*/paused-for-snapshot | wc -l").out, "1\n");
  ASSERT_TRUE(host_->Start());
  taking->Wait(absl::Seconds(60));
  ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
  EXPECT_EQ(host_->RunInGuest("web1", "echo here").out, "here\n");
  EXPECT_EQ(List("web1"), "");
  EXPECT_EQ(host_->Shell("ls " + host_->run_dir() + "/guests/*/paused-for-snapshot 2>/dev/null | wc -l").out, "0\n");
  // The same while one is restored: the disk is as it was.
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Shell("echo changed | dd of=more conv=notrunc 2>/dev/null")));
  // When the second disk has been copied.
  ASSERT_TRUE(host_->KillAt("fchmod", 2));
  std::unique_ptr<Running> restoring = host_->RunBeside({"snapshot", "restore", "web1", "s"});
  ASSERT_TRUE(host_->WaitForKill());
  EXPECT_TRUE(Ok(host_->Shell("ls more.restore-*")));
  ASSERT_TRUE(host_->Start());
  restoring->Wait(absl::Seconds(60));
  EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
  EXPECT_EQ(host_->Shell("head -c 7 more; ls more.* 2>/dev/null").out, "changed");
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("rm more")));
}

TEST_F(Snapshots, AFullDiskLeavesNothingAndTheGuestGoesOn) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
  ASSERT_TRUE(Ok(host_->Shell("head -c 100000000 /dev/urandom > more")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more"}));
  const std::string folder = host_->state_dir() + "/snapshots";
  ASSERT_TRUE(Ok(host_->Shell("mkdir -p " + folder +
                              " && truncate -s 30M small && mke2fs -q -t ext4 small && mount -o loop small " + folder +
                              " && rmdir " + folder + "/lost+found")));
  EXPECT_FALSE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  // Both disks are copied at once: the one that has no space left may be the small one, for which the other left none.
  EXPECT_THAT(host_->Run({"snapshot", "create", "web1", "s"}).err,
              testing::AllOf(HasSubstr("web1"), testing::AnyOf(HasSubstr("more: "), HasSubstr("ubda.cow: ")),
                             HasSubstr("No space left"), HasSubstr("hint")));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(host_->Shell("ls " + folder).out, "");
  ASSERT_TRUE(Ok(host_->Shell("umount " + folder + " && rm small")));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "s"})));
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("rm more")));
}

TEST_F(Snapshots, SurvivesAKillOfUmldWhileOneIsRestored) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "head -c 20000000 /dev/urandom > /data; sync; echo ok").out, "ok\n");
  const std::string sum = host_->RunInGuest("web1", kSum).out;
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  const std::string cow = DiskOf(host_->Describe("web1"), "ubda")["path"];
  for (int delay_ms : {0, 10, 30, 80, 200}) {
    SCOPED_TRACE(delay_ms);
    std::unique_ptr<Running> restoring = host_->RunBeside({"snapshot", "restore", "web1", "s"});
    absl::SleepFor(absl::Milliseconds(15 + delay_ms));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    restoring->Wait(absl::Seconds(60));
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    EXPECT_EQ(host_->Shell("ls " + cow + ".* 2>/dev/null | wc -l").out, "0\n");
  }
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", kSum).out, sum);
}

}  // namespace
}  // namespace umld::tests
