// Idle guests give back the host memory that they have used once and have free now, and lose nothing by it.
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
// Takes 100 MiB of host memory, and frees them inside.
constexpr char kUse[] = "dd if=/dev/zero of=/mnt/x bs=1M count=100 2>/dev/null && rm /mnt/x";

// The blocks of the file that a kernel keeps the guest's memory in, in MiB.
int64_t BlocksOf(pid_t kernel) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(absl::StrCat("/proc/", kernel, "/fd"), error)) {
    std::error_code gone;
    struct stat info = {};
    if (absl::StartsWith(std::filesystem::read_symlink(entry.path(), gone).string(), "/dev/shm/") &&
        stat(entry.path().c_str(), &info) == 0) {
      return info.st_blocks * 512 / kMiB;
    }
  }
  return -1;
}

class Reclaim : public SharedHost {
 protected:
  static void SetUpTestSuite() {
    host_ = new Host({.umld_args = {"--reclaim-after", "1s"}});
    ASSERT_TRUE(host_->Start());
  }
  // A guest with a file of 20 MiB in its memory.
  static bool Start(const std::string& name, const std::string& reclaim, const std::string& memory = "192M") {
    return host_->Create(name, {"--reclaim", reclaim}) && Ok(host_->Run({"set", name, "--mem", memory})) &&
           Ok(host_->Run({"start", name})) &&
           InGuest(name, "mount -t tmpfs -o size=150m none /mnt && dd if=/dev/urandom of=/mnt/keep bs=1M count=20");
  }
  static bool InGuest(const std::string& name, const std::string& command) {
    const GuestResult result = host_->RunInGuest(name, command);
    if (result.exit_code != 0) ADD_FAILURE() << command << ": " << result;
    return result.exit_code == 0;
  }
  // What the guest says of what it is to keep.
  static std::string Kept(const std::string& name) {
    return host_->RunInGuest(name, "md5sum /mnt/keep; grep MemTotal /proc/meminfo").out;
  }
  static int64_t FreeInside(const std::string& name) {
    const GuestResult result = host_->RunInGuest(name, "awk '/^MemFree/ {print int($2 / 1024)}' /proc/meminfo");
    int64_t mib = -1;
    EXPECT_TRUE(absl::SimpleAtoi(result.out, &mib)) << result.out;
    return mib;
  }
  static int64_t OnHost(const std::string& name) {
    const Json guest = Json::parse(host_->Run({"describe", name, "-o", "json"}).out);
    return guest.value("host_memory_bytes", int64_t{0}) / kMiB;
  }
  static int64_t Lent(const std::string& name) {
    return host_->Describe(name).value("lent_memory_bytes", int64_t{0}) / kMiB;
  }
  // How often, and how much in all.
  static int64_t Times(const std::string& name) {
    return host_->Describe(name).value("reclaimed_memory", Json::object()).value("count", int64_t{0});
  }
  static int64_t Reclaimed(const std::string& name) {
    return host_->Describe(name).value("reclaimed_memory", Json::object()).value("total_bytes", int64_t{0}) / kMiB;
  }
  static bool WaitForReclaimed(const std::string& name, int64_t mib) {
    const bool came = WaitFor([&] { return Reclaimed(name) >= mib; });
    EXPECT_TRUE(came) << name << ": " << Reclaimed(name) << " MiB";
    return came;
  }
  // Returns when all idle guests have been looked at several times: "other" has given back twice what it has used.
  static bool LetItLook() {
    for (int round = 0; round < 2; ++round) {
      const int64_t before = Reclaimed("other");
      if (!InGuest("other", kUse) || !WaitForReclaimed("other", before + 80)) return false;
    }
    return true;
  }
};

TEST_F(Reclaim, AnIdleGuestGivesBackAndLosesNothing) {
  ASSERT_TRUE(Start("other", "idle"));
  ASSERT_TRUE(Start("web1", "never"));
  ASSERT_TRUE(InGuest("web1", kUse));
  const std::string kept = Kept("web1");
  const int64_t before = OnHost("web1"), free_before = FreeInside("web1");
  EXPECT_GT(before, 120);
  // Not as long as it does not want it.
  ASSERT_TRUE(LetItLook());
  EXPECT_EQ(Times("web1"), 0);
  EXPECT_GE(OnHost("web1"), before);
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("never"));
  // The wish holds at once.
  const CommandResult set = host_->Run({"set", "web1", "--reclaim", "idle"});
  ASSERT_TRUE(Ok(set));
  EXPECT_EQ(set.err, "");
  ASSERT_TRUE(WaitForReclaimed("web1", 80));
  EXPECT_LE(OnHost("web1"), before - 80);
  EXPECT_EQ(Lent("web1"), 0);
  EXPECT_EQ(Kept("web1"), kept);
  EXPECT_NEAR(static_cast<double>(FreeInside("web1")), static_cast<double>(free_before), 8);
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("when idle; last "));
  EXPECT_GE(Json::parse(host_->Run({"stats", "web1", "-o", "json"}).out)[0].value("reclaimed_memory_bytes", int64_t{0}),
            80 * kMiB);
  // It can use all of it again, and gives it back again; what has nothing to give is left alone.
  const int64_t times = Times("web1"), of_other = Times("other");
  ASSERT_TRUE(InGuest("web1", kUse));
  ASSERT_TRUE(WaitForReclaimed("web1", 160));
  EXPECT_EQ(Kept("web1"), kept);
  EXPECT_GT(Times("web1"), times);
  EXPECT_EQ(Times("other"), of_other);
}

TEST_F(Reclaim, ABusyGuestIsLeftAlone) {
  ASSERT_TRUE(Start("other", "idle"));
  ASSERT_TRUE(Start("web1", "never"));
  ASSERT_TRUE(InGuest("web1", absl::StrCat("(while :; do :; done) & echo $! > /mnt/pid; ", kUse)));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--reclaim", "idle"})));
  ASSERT_TRUE(LetItLook());
  EXPECT_EQ(Times("web1"), 0);
  ASSERT_TRUE(InGuest("web1", "kill $(cat /mnt/pid)"));
  EXPECT_TRUE(WaitForReclaimed("web1", 80));
}

TEST_F(Reclaim, LentMemoryStaysLentAndThePausedSleep) {
  ASSERT_TRUE(Start("other", "idle"));
  for (const char* name : {"lends", "sleeps"}) ASSERT_TRUE(Start(name, "never") && InGuest(name, kUse));
  ASSERT_TRUE(Ok(host_->Run({"plug", "lends", "mem=-16M"})));
  ASSERT_TRUE(Ok(host_->Run({"pause", "sleeps"})));
  for (const char* name : {"lends", "sleeps"}) ASSERT_TRUE(Ok(host_->Run({"set", name, "--reclaim", "idle"})));
  ASSERT_TRUE(LetItLook());
  EXPECT_EQ(Lent("lends"), 16);
  EXPECT_EQ(host_->State("sleeps"), "PAUSED");
  for (const char* name : {"lends", "sleeps"}) EXPECT_EQ(Times(name), 0) << name;
  ASSERT_TRUE(Ok(host_->Run({"plug", "lends", "mem=+16M"})));
  ASSERT_TRUE(Ok(host_->Run({"resume", "sleeps"})));
  for (const char* name : {"lends", "sleeps"}) EXPECT_TRUE(WaitForReclaimed(name, 80)) << name;
  EXPECT_EQ(Lent("lends"), 0);
}

TEST_F(Reclaim, WhatIsTakenIsGivenBackWithoutUmld) {
  // With so much to take it lasts a second.
  ASSERT_TRUE(Start("web1", "never", "1G"));
  const std::string kept = Kept("web1");
  const pid_t kernel = host_->Describe("web1")["processes"]["kernel_pid"].get<pid_t>();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--reclaim", "never"})));
    ASSERT_TRUE(InGuest("web1", kUse));
    const int64_t free_before = FreeInside("web1"), before = BlocksOf(kernel), times = Times("web1");
    ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--reclaim", "idle"})));
    const absl::Time give_up = absl::Now() + kPatience;
    while (BlocksOf(kernel) > before - 10 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(1));
    host_->Kill9();
    SCOPED_TRACE(absl::StrCat("round ", round, ": killed when ", before - BlocksOf(kernel), " MiB were taken"));
    ASSERT_TRUE(host_->Start());
    EXPECT_TRUE(WaitFor([&] { return Times("web1") > times && Lent("web1") == 0; }));
    EXPECT_NEAR(static_cast<double>(FreeInside("web1")), static_cast<double>(free_before), 16);
    EXPECT_EQ(Kept("web1"), kept);
  }
}

}  // namespace
}  // namespace umld::tests
