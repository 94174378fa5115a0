#include "vmcore/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace umld::vmcore {
namespace {

constexpr char kMounts[] =
    "30 20 0:25 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "31 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 20 0:27 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "33 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(FindGroupTest, FindsVersion1ByItsController) {
  const std::string own = "5:pids:/docker/x/y\n4:cpu,cpuacct:/a\n3:memory:/\n0::/\n";
  EXPECT_EQ(FindGroup(own, kMounts, "memory")->folder, "/sys/fs/cgroup/memory");
  EXPECT_EQ(FindGroup(own, kMounts, "cpu")->folder, "/sys/fs/cgroup/cpu,cpuacct/a");
  EXPECT_EQ(FindGroup(own, kMounts, "pids")->folder, "/sys/fs/cgroup/pids/y");
  EXPECT_FALSE(FindGroup(own, kMounts, "memory")->version2);
}

TEST(FindGroupTest, FindsVersion2WhereVersion1HasNoSuchController) {
  const std::string own = "0::/system.slice/umld.service\n";
  auto place = FindGroup(own, kMounts, "memory");
  ASSERT_TRUE(place.has_value());
  EXPECT_TRUE(place->version2);
  EXPECT_EQ(place->folder, "/sys/fs/cgroup/unified/system.slice/umld.service");
}

TEST(FindGroupTest, FindsNothingThatIsNotMounted) {
  EXPECT_FALSE(FindGroup("3:memory:/\n", "", "memory").has_value());
  EXPECT_FALSE(FindGroup("", kMounts, "memory").has_value());
  EXPECT_FALSE(FindGroup("5:pids:/elsewhere\n", kMounts, "pids").has_value()) << "out of sight of this container";
}

TEST(GuestCgroupsTest, DefaultsAreOfTheGuestsSize) {
  v1::Limits wanted;
  v1::Limits limits = GuestCgroups::WithDefaults(wanted, 64 << 20);
  EXPECT_EQ(limits.memory_bytes(), uint64_t{160} << 20);
  EXPECT_EQ(limits.processes(), 4096U);
  EXPECT_EQ(limits.cpu_percent(), 0U);
  wanted.set_memory_bytes(1 << 30);
  EXPECT_EQ(GuestCgroups::WithDefaults(wanted, 64 << 20).memory_bytes(), uint64_t{1} << 30);
}

// The rest needs controllers of version 1 and root, as this project's test machines have them.
class RealGroups : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/cgroups.XXXXXX");
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    ASSERT_EQ(chdir(folder_.c_str()), 0);
    loop_ = *EventLoop::Create();
    const std::string own = Slurp("/proc/self/cgroup"), mounts = Slurp("/proc/self/mountinfo");
    auto place = FindGroup(own, mounts, "memory");
    if (getuid() != 0 || !place.has_value() || place->version2) GTEST_SKIP() << "no version 1 here";
    groups_ = std::make_unique<GuestCgroups>(loop_.get(), "test", [this] { loop_->Quit(); });
    memory_ = absl::StrCat(place->folder, "/umld-test-", getpid());
    pids_ = absl::StrCat(FindGroup(own, mounts, "pids")->folder, "/umld-test-", getpid());
    cpu_ = absl::StrCat(FindGroup(own, mounts, "cpu")->folder, "/umld-test-", getpid());
  }
  void TearDown() override {
    groups_.reset();
    if (!memory_.empty()) {
      EXPECT_NE(access(memory_.c_str(), F_OK), 0);
      EXPECT_NE(access(pids_.c_str(), F_OK), 0);
      EXPECT_NE(access(cpu_.c_str(), F_OK), 0);
    }
    EXPECT_NE(access("cgroups", F_OK), 0);
  }
  static std::string Slurp(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // A child that joins and then runs `body`.
  template <typename Body>
  pid_t Inside(const Body& body) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    for (int fd : groups_->entrances()) {
      if (write(fd, "0", 1) != 1) _exit(99);
    }
    body();
    _exit(0);
  }

  std::string folder_, memory_, pids_, cpu_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<GuestCgroups> groups_;
};

TEST_F(RealGroups, LimitsAreInForceAndCanBeChanged) {
  v1::Limits wanted;
  wanted.set_cpu_percent(150);
  wanted.set_processes(100);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(Slurp(memory_ + "/memory.limit_in_bytes"), absl::StrCat(160 << 20, "\n"));
  EXPECT_EQ(Slurp(pids_ + "/pids.max"), "100\n");
  EXPECT_EQ(Slurp(cpu_ + "/cpu.cfs_quota_us"), "150000\n");
  // Up and down, with the limit that includes swap.
  for (uint64_t mib : {512, 48, 300}) {
    wanted.set_memory_bytes(mib << 20);
    EXPECT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
    EXPECT_EQ(Slurp(memory_ + "/memory.limit_in_bytes"), absl::StrCat(mib << 20, "\n"));
  }
  wanted.set_cpu_percent(0);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(Slurp(cpu_ + "/cpu.cfs_quota_us"), "-1\n");
  v1::Facts facts;
  groups_->AddFacts(&facts);
  ASSERT_EQ(facts.confinement_points_size(), 3);
  for (const v1::ConfinementPoint& point : facts.confinement_points()) EXPECT_TRUE(point.in_force()) << point.detail();
}

TEST_F(RealGroups, MemoryBeyondTheLimitIsTold) {
  v1::Limits wanted;
  wanted.set_memory_bytes(40 << 20);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(groups_->Reason(), "");
  pid_t hog = Inside([] {
    constexpr size_t kSize = 100 << 20;
    auto* memory = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < kSize; i += 4096) memory[i] = 1;
  });
  auto timer = loop_->RunAfter(std::chrono::seconds(20), [this] {
    ADD_FAILURE() << "nobody was told";
    loop_->Quit();
  });
  loop_->Run();  // until out_of_memory
  loop_->Cancel(timer);
  EXPECT_EQ(groups_->Reason(), "out of memory: its limit is 40M");
  int status = 0;
  ASSERT_EQ(waitpid(hog, &status, 0), hog);
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(groups_->TakeReason(), "out of memory: its limit is 40M");
  EXPECT_EQ(groups_->TakeReason(), "");
}

TEST_F(RealGroups, ALimitBelowWhatIsUsedIsRefused) {
  v1::Limits wanted;
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t user = Inside([&ready] {
    constexpr size_t kSize = 60 << 20;
    auto* memory = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < kSize; i += 4096) memory[i] = 1;
    if (write(ready[1], "r", 1) == 1) pause();
  });
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  wanted.set_memory_bytes(40 << 20);
  absl::Status status = groups_->Apply(wanted, 64 << 20);
  EXPECT_TRUE(absl::StrContains(status.message(), "more than the limit of 40M")) << status;
  EXPECT_EQ(Slurp(memory_ + "/memory.limit_in_bytes"), absl::StrCat(160 << 20, "\n"));
  kill(user, SIGKILL);
  waitpid(user, nullptr, 0);
}

TEST_F(RealGroups, WhatAKilledSupervisorLeftIsRemovedByItsRecord) {
  pid_t left = fork();
  if (left == 0) {
    // As a vmcore that is killed: nothing is cleaned up.
    new GuestCgroups(loop_.get(), "left", [] {});
    _exit(0);
  }
  waitpid(left, nullptr, 0);
  const std::string group = absl::StrCat(memory_.substr(0, memory_.rfind('/')), "/umld-left-", left);
  ASSERT_EQ(access(group.c_str(), F_OK), 0);
  ASSERT_TRUE(GuestCgroups::RemoveRecorded().ok());
  EXPECT_NE(access(group.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace umld::vmcore
