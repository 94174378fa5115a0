// What a guest may use of the host: a fork bomb and a memory hog hurt nobody but themselves.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class Limits : public SharedHost {
 protected:
  // An ordinary user has no control groups, unless somebody lends him some.
  static void SetUpTestSuite() {
    if (getuid() == 0) SharedHost::SetUpTestSuite();
  }

  // Where version 1 has the guest's group: "cpu.cfs_quota_us". Empty: there is none.
  static std::string GroupFile(const std::string& controller, const std::string& file) {
    const int supervisor = host_->Describe("web1")["processes"]["supervisor_pid"];
    return host_
        ->Shell(absl::StrCat("cat $(find /sys/fs/cgroup/", controller, " -name 'umld-*-", supervisor, "')/", file))
        .out;
  }
  static void TheNeighbourGoesOn() {
    const absl::Time before = absl::Now();
    EXPECT_EQ(host_->RunInGuest("web2", "echo still here").out, "still here\n");
    EXPECT_LT(absl::Now() - before, absl::Seconds(10));
  }
};

TEST_F(Limits, AMemoryHogIsEndedAndItsNeighbourIsNot) {
  // More memory than it may use, as a user would get it wrong.
  ASSERT_TRUE(host_->CreateAndStart("web2"));
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--mem", "192M", "--memory-max", "100M"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("memory limit:    100 MiB"));
  std::unique_ptr<Running> console = host_->RunBeside({"console", "web1", "--linger", "0s"});
  ASSERT_TRUE(LogIn(*console, absl::Seconds(30)));
  console->Write("mount -t tmpfs -o size=180m none /mnt; dd if=/dev/zero of=/mnt/x bs=1M count=170\n");
  EXPECT_TRUE(console->Wait(absl::Seconds(40)).has_value()) << "the guest goes on: " << console->out();
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("out of memory: its limit is 100M"));
  bool event = false;
  for (const Json& one : host_->Events("web1")) event = event || absl::StrContains(one.dump(), "its limit is 100M");
  EXPECT_TRUE(event);
  TheNeighbourGoesOn();
  // Nothing is left over that would end the next one.
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--memory-max", "default"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "echo back").out, "back\n");
}

TEST_F(Limits, AForkBombReachesItsOwnLimit) {
  ASSERT_TRUE(host_->CreateAndStart("web2"));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--pids", "60"}));
  EXPECT_EQ(GroupFile("pids", "pids.max"), "60\n");
  const std::string bomb = "(for i in $(seq 120); do sleep 60 >/dev/null 2>&1 & done) 2>&1 | tail -1";
  auto processes = [] {
    int64_t number = 0;
    EXPECT_TRUE(absl::SimpleAtoi(absl::StripAsciiWhitespace(GroupFile("pids", "pids.current")), &number));
    return number;
  };
  EXPECT_NE(host_->RunInGuest("web1", bomb).out, "") << "the guest has forked as it liked";
  EXPECT_LE(processes(), 60);
  EXPECT_GT(processes(), 40);
  TheNeighbourGoesOn();
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  // It is the limit that stopped it.
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--pids", "default"})));
  EXPECT_EQ(GroupFile("pids", "pids.max"), "4096\n");
  EXPECT_EQ(host_->RunInGuest("web1", "killall sleep 2>/dev/null; " + bomb).out, "");
  EXPECT_GT(processes(), 100);
}

TEST_F(Limits, AreChangedWhileTheGuestRuns) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("memory limit:    160 MiB"));
  const CommandResult set = host_->Run({"set", "web1", "--cpu", "50%", "--memory-max", "256M", "--pids", "512"});
  ASSERT_TRUE(Ok(set));
  EXPECT_THAT(set.err, Not(HasSubstr("next boot")));
  EXPECT_EQ(GroupFile("cpu", "cpu.cfs_quota_us"), "50000\n");
  EXPECT_EQ(GroupFile("memory", "memory.limit_in_bytes"), absl::StrCat(256 << 20, "\n"));
  EXPECT_EQ(GroupFile("pids", "pids.max"), "512\n");
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("cpu 50%, memory 256 MiB, pids 512"));
  // One alone: the others stay.
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--cpu", "default"})));
  EXPECT_EQ(GroupFile("cpu", "cpu.cfs_quota_us"), "-1\n");
  EXPECT_EQ(GroupFile("pids", "pids.max"), "512\n");
  // They hold through a restart of umld and a reboot of the guest.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(GroupFile("pids", "pids.max"), "512\n");
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1", "--now"})));
  EXPECT_EQ(GroupFile("pids", "pids.max"), "512\n");
  EXPECT_EQ(host_->RunInGuest("web1", "echo fine").out, "fine\n");
}

TEST_F(Limits, DisksAreLimitedOnTheDevicesTheyAreOn) {
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk-bandwidth", "10M"}));
  const std::string most = absl::StrCat(" ", 10 << 20, "\n");
  EXPECT_THAT(GroupFile("blkio", "blkio.throttle.write_bps_device"), EndsWith(most));
  EXPECT_THAT(GroupFile("blkio", "blkio.throttle.read_bps_device"), EndsWith(most));
  EXPECT_EQ(GroupFile("blkio", "blkio.throttle.read_iops_device"), "");
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("disk 10 MiB/s"), HasSubstr("io limit:")));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--disk-bandwidth", "default", "--disk-iops", "500"})));
  EXPECT_EQ(GroupFile("blkio", "blkio.throttle.write_bps_device"), "");
  EXPECT_THAT(GroupFile("blkio", "blkio.throttle.read_iops_device"), EndsWith(" 500\n"));
  // A disk that no device is under cannot be limited, and is not taken as if it were.
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M /dev/shm/umld-limits-test")));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdb=/dev/shm/umld-limits-test"}), kWrongState,
                      {"/dev/shm/umld-limits-test", "no block device"}));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--disk-iops", "default"})));
  EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=/dev/shm/umld-limits-test"})));
  ASSERT_TRUE(Ok(host_->Shell("rm /dev/shm/umld-limits-test")));
}

TEST_F(Limits, AFloodOfMessagesBecomesFewEvents) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_
                ->RunInGuest("web1",
                             "for i in $(seq 1000); do echo m$i >/proc/mconsole; done; sleep 3; "
                             "echo the last one >/proc/mconsole; echo sent")
                .out,
            "sent\n");
  auto messages = [] {
    std::vector<std::string> texts;
    for (const Json& event : host_->Events("web1")) {
      if (event["type"] == "guest.message") texts.push_back(event["message"]);
    }
    return texts;
  };
  EXPECT_TRUE(WaitFor([&] { return !messages().empty() && messages().back() == "the last one\n"; }, absl::Seconds(20)));
  const std::vector<std::string> texts = messages();
  EXPECT_GE(texts.size(), 101u);
  EXPECT_LE(texts.size(), 140u);
  EXPECT_EQ(texts[0], "m1\n");
  EXPECT_EQ(texts[99], "m100\n");
  EXPECT_THAT(texts, Contains(HasSubstr("messages were dropped here")));
}

TEST_F(Limits, ABusyGuestGetsNoMoreThanItsShare) {
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--cpu", "20%"}));
  EXPECT_EQ(GroupFile("cpu", "cpu.cfs_quota_us"), "20000\n");
  // The rest of the boot takes 10 to 90 s with so little: it is not what this is about.
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--cpu", "default"})));
  std::unique_ptr<Running> console = host_->RunBeside({"console", "web1", "--linger", "0s"});
  ASSERT_TRUE(LogIn(*console, absl::Seconds(60))) << console->out();
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--cpu", "20%"})));
  console->Write("echo be\"gins\"; while true; do true; done\n");
  ASSERT_TRUE(console->ReadUntil("begins\r\n"));
  auto throttled = [] {
    int64_t periods = 0;
    const std::string stat = GroupFile("cpu", "cpu.stat");
    const size_t at = stat.find("nr_throttled ");
    if (at != std::string::npos) sscanf(stat.c_str() + at, "nr_throttled %ld", &periods);
    return periods;
  };
  const int64_t before = throttled();
  absl::SleepFor(absl::Seconds(3));
  EXPECT_GT(throttled(), before + 10) << "of about 30 periods";
}

TEST_F(Limits, WhatIsNoLimitIsRefused) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_EQ(host_->Run({"set", "web1", "--cpu", "fast"}).exit_code, kUsage);
  EXPECT_EQ(host_->Run({"set", "web1", "--memory-max", "1M"}).exit_code, kUsage);
  EXPECT_EQ(host_->Run({"set", "web1", "--pids", "2"}).exit_code, kUsage);
}

TEST_F(Limits, NothingIsLeftOfAKilledSupervisor) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const int supervisor = host_->Describe("web1")["processes"]["supervisor_pid"];
  const std::string find = absl::StrCat("find /sys/fs/cgroup -name 'umld-*-", supervisor, "'");
  EXPECT_THAT(host_->Shell(find).out, HasSubstr("umld-"));
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("kill -9 ", supervisor))));
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_EQ(host_->Shell(find).out, "");
}

}  // namespace
}  // namespace umld::tests
