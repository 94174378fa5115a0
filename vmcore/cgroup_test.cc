#include "vmcore/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

// The rest needs controllers and root. Version 1 is what this project's test machines have; cgroup_v2_test runs the
// same in a UML kernel that has version 2.
class RealGroups : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/cgroups.XXXXXX");
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    ASSERT_EQ(chdir(folder_.c_str()), 0);
    loop_ = *EventLoop::Create();
    const std::string own = Slurp("/proc/self/cgroup"), mounts = Slurp("/proc/self/mountinfo");
    auto place = FindGroup(own, mounts, "memory");
    if (getuid() != 0 || !place.has_value()) GTEST_SKIP() << "no controllers here";
    version2_ = place->version2;
    if (version2_) {
      // As umld-guests.service is: delegated, and without processes.
      if (!absl::StrContains(Slurp(place->folder + "/cgroup.controllers"), "memory")) GTEST_SKIP() << "not delegated";
      parent_ = absl::StrCat(place->folder, "/test-", getpid());
      for (const char* name : {"+cpu", "+memory", "+pids", "+io"}) {
        std::ofstream(place->folder + "/cgroup.subtree_control") << name;
      }
      ASSERT_EQ(mkdir(parent_.c_str(), 0755), 0);
    }
    groups_ = std::make_unique<GuestCgroups>(loop_.get(), "test", parent_, [this] { loop_->Quit(); });
    auto folder = [&](const char* controller) {
      return absl::StrCat(version2_ ? parent_ : FindGroup(own, mounts, controller)->folder, "/umld-test-", getpid());
    };
    memory_ = folder("memory");
    pids_ = folder("pids");
    cpu_ = folder("cpu");
    io_ = folder("blkio");
  }
  void TearDown() override {
    groups_.reset();
    if (!memory_.empty()) {
      EXPECT_NE(access(memory_.c_str(), F_OK), 0);
      EXPECT_NE(access(pids_.c_str(), F_OK), 0);
      EXPECT_NE(access(cpu_.c_str(), F_OK), 0);
      EXPECT_NE(access(io_.c_str(), F_OK), 0);
    }
    if (!parent_.empty()) {
      EXPECT_EQ(rmdir(parent_.c_str()), 0);
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

  std::string MemoryLimit() { return Slurp(memory_ + (version2_ ? "/memory.max" : "/memory.limit_in_bytes")); }
  std::string CpuQuota() { return Slurp(cpu_ + (version2_ ? "/cpu.max" : "/cpu.cfs_quota_us")); }

  bool version2_ = false;
  std::string folder_, parent_, memory_, pids_, cpu_, io_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<GuestCgroups> groups_;
};

TEST_F(RealGroups, LimitsAreInForceAndCanBeChanged) {
  v1::Limits wanted;
  wanted.set_cpu_percent(150);
  wanted.set_processes(100);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(MemoryLimit(), absl::StrCat(160 << 20, "\n"));
  EXPECT_EQ(Slurp(pids_ + "/pids.max"), "100\n");
  EXPECT_EQ(CpuQuota(), version2_ ? "150000 100000\n" : "150000\n");
  // Up and down, with the limit that includes swap.
  for (uint64_t mib : {512, 48, 300}) {
    wanted.set_memory_bytes(mib << 20);
    EXPECT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
    EXPECT_EQ(MemoryLimit(), absl::StrCat(mib << 20, "\n"));
  }
  wanted.set_cpu_percent(0);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(CpuQuota(), version2_ ? "max 100000\n" : "-1\n");
  v1::Facts facts;
  groups_->AddFacts(&facts);
  ASSERT_EQ(facts.confinement_points_size(), 4);
  for (const v1::ConfinementPoint& point : facts.confinement_points()) EXPECT_TRUE(point.in_force()) << point.detail();
}

TEST_F(RealGroups, DisksAreLimitedOnTheirDevices) {
  const std::string file = absl::StrCat(folder_, "/disk");
  std::ofstream(file) << "x";
  const dev_t device = DeviceUnder(file);
  if (device == 0) GTEST_SKIP() << folder_ << " is on no device that can be limited";
  EXPECT_EQ(DeviceUnder(folder_ + "/not-there-yet"), device);
  v1::Limits wanted;
  ASSERT_TRUE(groups_->CoverDisks({file}).ok());
  wanted.set_disk_bytes_per_second(1 << 20);
  wanted.set_disk_operations_per_second(200);
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  const std::string of = absl::StrCat(major(device), ":", minor(device), " ");
  auto limit = [&](const char* version1) {
    return Slurp(absl::StrCat(io_, version2_ ? "/io.max" : "/blkio.throttle.", version2_ ? "" : version1));
  };
  if (version2_) {
    EXPECT_EQ(limit(""), of + "rbps=1048576 wbps=1048576 riops=200 wiops=200\n");
  } else {
    EXPECT_EQ(limit("read_bps_device"), of + "1048576\n");
    EXPECT_EQ(limit("write_iops_device"), of + "200\n");
  }
  // Three MiB of real I/O take their time.
  const pid_t reader = Inside([&] {
    const int fd = open(file.c_str(), O_RDWR | O_TRUNC | O_DIRECT);
    void* block = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 3; ++i) {
      if (write(fd, block, 1 << 20) != 1 << 20) _exit(98);
    }
  });
  const auto begin = std::chrono::steady_clock::now();
  int status = 0;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  EXPECT_EQ(status, 0);
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));

  wanted.clear_disk_bytes_per_second();
  wanted.clear_disk_operations_per_second();
  ASSERT_TRUE(groups_->Apply(wanted, 64 << 20).ok());
  EXPECT_EQ(limit("read_bps_device"), "");
}

TEST_F(RealGroups, ADiskThatCannotBeLimitedIsSaid) {
  ASSERT_EQ(DeviceUnder("/proc/version"), 0u);
  ASSERT_TRUE(groups_->CoverDisks({"/proc/version"}).ok()) << "nobody asked for a limit";
  v1::Limits wanted;
  wanted.set_disk_bytes_per_second(1 << 20);
  const absl::Status status = groups_->Apply(wanted, 64 << 20);
  EXPECT_TRUE(absl::StrContains(status.message(), "/proc/version is on no block device")) << status;
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
  EXPECT_EQ(MemoryLimit(), absl::StrCat(160 << 20, "\n"));
  kill(user, SIGKILL);
  waitpid(user, nullptr, 0);
}

TEST_F(RealGroups, WhatAKilledSupervisorLeftIsRemovedByItsRecord) {
  pid_t left = fork();
  if (left == 0) {
    // As a vmcore that is killed: nothing is cleaned up.
    new GuestCgroups(loop_.get(), "left", parent_, [] {});
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
