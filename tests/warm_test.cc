// The warm pool: guests that get a kernel which was booted before they were asked for. A warm guest is held against the
// same guest booted cold.
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// What waits is Debian's kernel with 64 MiB, as the guests of Create have.
Json PoolOf(const Host& host) {
  const Json pools = Json::parse(host.Run({"pool", "list", "-o", "json"}).out);
  return pools.empty() ? Json() : pools[0];
}
uint32_t Ready(const Host& host) {
  const Json pool = PoolOf(host);
  return pool.is_null() ? 0 : pool.value("ready", 0u);
}
bool WaitForReady(const Host& host, uint32_t count) {
  return WaitFor([&] { return Ready(host) == count; });
}
std::string StartKind(const Host& host, const std::string& name) { return host.Describe(name)["start_kind"]; }

class Warm : public SharedHost {
 protected:
  void SetUp() override {
    SharedHost::SetUp();
    SetPool(1);
  }
  void TearDown() override {
    SharedHost::TearDown();
    SetPool(0);
    EXPECT_TRUE(WaitFor([&] { return Waiting() == 0; })) << "kernels wait that nobody wants";
  }
  void SetPool(int warm) {
    ASSERT_TRUE(Ok(host_->Run({"pool", "set", "--mem", "64M", "--warm", std::to_string(warm)})));
    ASSERT_TRUE(warm == 0 || WaitForReady(*host_, static_cast<uint32_t>(warm))) << host_->Run({"pool", "list"});
  }
  int Waiting() {
    return std::stoi(host_->Shell("ls -d " + host_->run_dir() + "/warm/[0-9]* 2>/dev/null | wc -l").out);
  }
  // From the pool, and umlctl says so.
  bool StartWarm(const std::string& name) {
    if (!WaitFor([&] { return Ready(*host_) > 0; })) return false;
    const CommandResult started = host_->Run({"start", name});
    EXPECT_EQ(started.out, name + ": started (warm)\n") << started.err;
    EXPECT_EQ(StartKind(*host_, name), "WARM");
    return started.exit_code == 0;
  }
};

// What a guest can tell of how it was started. Its memory to a tenth: an initramfs leaves a page less.
constexpr char kSeen[] =
    "hostname; cat /proc/cmdline; cat /proc/1/cmdline | tr '\\0' ' '; echo; cut -d ' ' -f 1-3 /proc/mounts | grep -v "
    "cmdline | sort | uniq; cat /proc/1/environ | tr '\\0' '\\n' | grep -E 'HOME|TERM'; "
    "ls /dev | xargs; cat /sys/block/ubdc/serial /sys/block/ubdc/ro; sed -n 's/MemTotal: *\\(...\\).*/\\1/p' "
    "/proc/meminfo; "
    "ls -d /sys/class/net/* | xargs; md5sum < /dev/ubdc; tty; ls -la /proc/1/fd | sed 's/.*-> //' | tail -n +4 | "
    "xargs; "
    "cat /proc/sys/kernel/printk; ulimit -n; ulimit -s; ulimit -c; cat /proc/sys/kernel/random/entropy_avail; "
    "cat /proc/1/cgroup; pwd";

TEST_F(Warm, IsWhatABootWouldHaveMade) {
  ASSERT_TRUE(Ok(host_->Shell("head -c 3000000 /dev/urandom > data")));
  std::vector<std::string> words = {"--disk", "ubdcr=data,,SERIAL7", "--disk", "ubdb=data2.cow,data"};
  // An ordinary user makes no taps.
  const bool has_nic = getuid() == 0;
  if (has_nic) words.insert(words.end(), {"--nic", "eth0=tuntap"});
  ASSERT_TRUE(host_->Create("web1", words));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "con2=pts"})));
  ASSERT_TRUE(StartWarm("web1"));
  const std::string warm = host_->RunInGuest("web1", kSeen).out;
  EXPECT_THAT(warm, AllOf(StartsWith("web1\n"), HasSubstr("hostname=web1"), HasSubstr("SERIAL7")));
  EXPECT_THAT(warm, HasSubstr(has_nic ? "eth0" : "lo"));
  // By its own name for the stock tool, and its log begins with the kernel's first line.
  EXPECT_THAT(host_->UmlMconsole({"web1", "version"}).out, HasSubstr("Linux web1"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config", "ubdc"}).out, HasSubstr("data"));
  EXPECT_THAT(host_->Run({"logs", "web1", "con0"}).out, AllOf(HasSubstr("Linux version"), HasSubstr("ubda")));
  const Json guest = host_->Describe("web1");
  EXPECT_EQ(guest["boots"], 1);
  EXPECT_THAT(guest["processes"]["runtime_directory"].get<std::string>(), HasSubstr(host_->run_dir() + "/guests/"));
  const std::string points = guest["confinement_points"].dump();
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["last_exit"]["stop_stage"], "orderly");

  SetPool(0);
  EXPECT_EQ(host_->Run({"start", "web1"}).out, "web1: started\n");
  EXPECT_EQ(StartKind(*host_, "web1"), "COLD");
  EXPECT_EQ(host_->RunInGuest("web1", kSeen).out, warm);
  const Json cold = host_->Describe("web1");
  ASSERT_EQ(cold["confinement_points"].size(), guest["confinement_points"].size()) << points;
  for (size_t i = 0; i < cold["confinement_points"].size(); ++i) {
    EXPECT_EQ(cold["confinement_points"][i]["name"], guest["confinement_points"][i]["name"]);
    EXPECT_EQ(cold["confinement_points"][i]["in_force"], guest["confinement_points"][i]["in_force"]);
  }
  SetPool(1);
}

TEST_F(Warm, LivesOnAsAnyGuest) {
  // Nor has one control groups to put limits on.
  ASSERT_TRUE(
      host_->Create("web1", getuid() == 0 ? std::vector<std::string>{"--pids", "40"} : std::vector<std::string>()));
  ASSERT_TRUE(StartWarm("web1"));
  // Changes of a running guest, and its limits.
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M more")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=more"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "con3=pts"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /sys/block/ubdb/size").out, "2048\n");
  if (getuid() == 0) {
    const std::string run_dir = host_->Describe("web1")["processes"]["runtime_directory"];
    EXPECT_EQ(host_->Shell("cat $(grep pids " + run_dir + "/cgroups)/pids.max").out, "40\n");
    ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--pids", "50"})));
    EXPECT_EQ(host_->Shell("cat $(grep pids " + run_dir + "/cgroups)/pids.max").out, "50\n");
  }
  ASSERT_EQ(host_->RunInGuest("web1", "echo kept > /root/note; sync").exit_code, 0);
  EXPECT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"resume", "web1"})));
  // umld goes and comes: it is found again, and so is what it was.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(StartKind(*host_, "web1"), "WARM");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note").out, "kept\n");
  EXPECT_TRUE(WaitForReady(*host_, 1)) << "the next umld has others waiting";
  EXPECT_EQ(Waiting(), 1) << "those of the last one are gone";
  // Its next kernel is booted.
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"})));
  EXPECT_EQ(StartKind(*host_, "web1"), "COLD");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note").out, "kept\n");
  EXPECT_EQ(host_->RunInGuest("web1", "(sleep 1; reboot) & :").exit_code, 0);
  EXPECT_TRUE(WaitFor([&] { return host_->Describe("web1")["boots"] == 3; }));
  // A reset, and what comes after a crash, are starts.
  ASSERT_TRUE(WaitForReady(*host_, 1));
  ASSERT_TRUE(Ok(host_->Run({"reset", "--force", "web1"})));
  EXPECT_EQ(StartKind(*host_, "web1"), "WARM");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note 2>/dev/null || echo none").out, "none\n");
  EXPECT_EQ(host_->RunInGuest("web1", "(sleep 1; echo c > /proc/sysrq-trigger) & :").exit_code, 0);
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_THAT(host_->Describe("web1")["last_exit"]["reason"].get<std::string>(), HasSubstr("sysrq triggered crash"));
  ASSERT_TRUE(StartWarm("web1"));
}

TEST_F(Warm, SharesNothingWithTheOthers) {
  SetPool(2);
  std::vector<std::string> seen;
  for (const std::string name : {"web1", "web2"}) {
    ASSERT_TRUE(host_->Create(name));
    ASSERT_TRUE(StartWarm(name));
    seen.push_back(
        host_->RunInGuest(name, "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum").out);
  }
  for (const size_t line : {0, 1}) {
    EXPECT_NE(std::vector<std::string>(absl::StrSplit(seen[0], '\n'))[line],
              std::vector<std::string>(absl::StrSplit(seen[1], '\n'))[line]);
  }
  const auto uid = [&](const std::string& name) {
    return host_
        ->Shell(absl::StrCat("sed -n 's/^Uid:.//p' /proc/", host_->Describe(name)["processes"]["kernel_pid"].get<int>(),
                             "/status"))
        .out;
  };
  EXPECT_TRUE(getuid() != 0 || uid("web1") != uid("web2")) << uid("web1");
}

TEST_F(Warm, SaysWhyItIsColdWhenItIs) {
  const Json before = PoolOf(*host_);
  SetPool(0);
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Run({"pool", "set", "--mem", "64M", "--warm", "1"})));
  // At once, before one can be ready.
  EXPECT_EQ(host_->Run({"start", "web1"}).out, "web1: started (cold: no kernel of the warm pool is ready)\n");
  ASSERT_TRUE(WaitForReady(*host_, 1));
  ASSERT_TRUE(host_->Create("web2", {"--arg", "loglevel=3"}));
  EXPECT_THAT(host_->Run({"start", "web2"}).out, HasSubstr("(cold: the kernel argument loglevel=3 is for a kernel"));
  ASSERT_TRUE(host_->Create("web3", {"--confinement", "relaxed", "--trust", "trusted"}));
  EXPECT_THAT(host_->Run({"start", "web3"}).out, HasSubstr("(cold: it is not confined)"));
  // Of another class.
  ASSERT_TRUE(Ok(host_->Run({"create", "web4", "--image", "tiny", "--mem", "96M"})));
  EXPECT_EQ(host_->Run({"start", "web4"}).out, "web4: started\n");
  EXPECT_EQ(Ready(*host_), 1u) << "none was taken";
  const Json after = PoolOf(*host_);
  EXPECT_EQ(after.value("warm_starts", 0), before.value("warm_starts", 0));
  EXPECT_EQ(after.value("cold_starts", 0), before.value("cold_starts", 0) + 3);
  EXPECT_THAT(host_->Run({"pool", "list"}).out, ContainsRegex("default.* 64 MiB +1 +1 .* cold"));
}

// What a boot would have failed with, in the same words: the guest is booted after all.
TEST_F(Warm, FailsAsABootDoes) {
  ASSERT_TRUE(host_->Create("web1", {"--arg", "init=/nowhere"}));
  const CommandResult started = host_->Run({"start", "web1"});
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED")) << started.out << started.err;
  EXPECT_THAT(host_->Describe("web1")["last_exit"]["reason"].get<std::string>(),
              HasSubstr("Requested init /nowhere failed"));
  ASSERT_TRUE(Ok(host_->Shell("head -c 1000000 /dev/urandom > garbage")));
  ASSERT_TRUE(Ok(host_->Run({"create", "web2", "--mem", "64M", "--disk", "ubda=garbage"})));
  ASSERT_TRUE(WaitForReady(*host_, 1));
  host_->Run({"start", "web2"});
  ASSERT_TRUE(host_->WaitForState("web2", "CRASHED"));
  EXPECT_THAT(host_->Describe("web2")["last_exit"]["reason"].get<std::string>(), HasSubstr("Unable to mount root fs"));
  // A guest whose disk is not there is not started, and costs no kernel.
  ASSERT_TRUE(WaitForReady(*host_, 1));
  const std::string waiting = host_->Shell("ls " + host_->run_dir() + "/warm").out;
  ASSERT_TRUE(Ok(host_->Shell("rm garbage")));
  EXPECT_TRUE(Refused(host_->Run({"start", "web2"}), kNotFound, {"garbage"}));
  EXPECT_EQ(host_->Shell("ls " + host_->run_dir() + "/warm").out, waiting);
}

// Whenever umld is killed, the guest runs in the end, once.
TEST_F(Warm, AKillOfUmldWhileOneIsTakenLosesNothing) {
  ASSERT_TRUE(host_->Create("web1"));
  struct Step {
    const char* syscall;
    int nth;
  };
  // Before the folder is the guest's; and when the kernel has been told, but its answer was not heard.
  for (const Step& step : {Step{"rename", 1}, Step{"recvfrom", 1}}) {
    SCOPED_TRACE(step.syscall);
    ASSERT_TRUE(WaitForReady(*host_, 1));
    ASSERT_TRUE(host_->KillAt(step.syscall, step.nth));
    std::unique_ptr<Running> starting = host_->RunBeside({"start", "web1"});
    ASSERT_TRUE(host_->WaitForKill());
    ASSERT_TRUE(host_->Start());
    starting->Wait();
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host_->RunInGuest("web1", "echo here; cat /proc/sys/kernel/hostname").out, "here\nweb1\n");
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  }
  for (int delay_ms : {0, 3, 6, 12, 25, 50}) {
    SCOPED_TRACE(delay_ms);
    ASSERT_TRUE(WaitForReady(*host_, 1));
    std::unique_ptr<Running> starting = host_->RunBeside({"start", "web1"});
    absl::SleepFor(absl::Milliseconds(10 + delay_ms));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    // It may not have been asked yet.
    if (starting->Wait() != kOk && host_->State("web1") == "STOPPED") {
      ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
    }
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host_->RunInGuest("web1", "echo here").out, "here\n");
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  }
}

TEST_F(Warm, KeepsAsManyAsAreWanted) {
  SetPool(3);
  // One that dies is replaced.
  const std::string folder = host_->Shell("ls -d " + host_->run_dir() + "/warm/[0-9]* | head -1 | tr -d '\\n'").out;
  const std::vector<ProcessInfo> processes = ProcessesOf(folder);
  ASSERT_FALSE(processes.empty());
  for (const ProcessInfo& process : processes) kill(process.pid, SIGKILL);
  EXPECT_TRUE(WaitFor([&] { return Ready(*host_) == 3 && host_->Shell("ls " + folder).exit_code != 0; }));
  // Fewer.
  SetPool(1);
  EXPECT_TRUE(WaitFor([&] { return Waiting() == 1; }));
  EXPECT_TRUE(Refused(host_->Run({"pool", "set", "--mem", "1M", "--warm", "1"}), kUsage, {"mem=1M"}));
  EXPECT_TRUE(Refused(host_->Run({"pool", "set", "--warm", "100000"}), kUsage, {"100000"}));
  EXPECT_TRUE(Refused(host_->Run({"pool", "set", "--kernel", "nowhere", "--warm", "1"}), kNotFound, {"nowhere"}));
  EXPECT_TRUE(Refused(host_->Run({"pool", "set", "--kernel", "/etc/passwd", "--warm", "1"}), kDenied, {"passwd"}));
  EXPECT_EQ(host_->Run({"pool", "list", "-o", "name"}).out, "default-64M\n");
  EXPECT_EQ(host_->Run({"pool", "set"}).exit_code, kUsage);
}

TEST(WarmPool, HasACeiling) {
  if (getuid() != 0) GTEST_SKIP() << "needs root";
  Host host({.umld_args = {"--warm-memory", "150M"}});
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(Ok(host.Run({"pool", "set", "--mem", "64M", "--warm", "4"})));
  ASSERT_TRUE(WaitForReady(host, 2));
  EXPECT_TRUE(WaitFor([&] { return PoolOf(host).value("problem", "").find("--warm-memory") != std::string::npos; }))
      << host.Run({"pool", "list"});
  EXPECT_EQ(Ready(host), 2u);
  host.Finish();
}

TEST(WarmPool, IsAnOrdinaryUsersToo) {
  if (getuid() != 0) GTEST_SKIP() << "is one";
  Host host({.umld_args = {}, .uid = 61235, .gid = 61235});
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(Ok(host.Run({"pool", "set", "--mem", "64M", "--warm", "1"})));
  ASSERT_TRUE(host.Create("web1"));
  ASSERT_TRUE(WaitForReady(host, 1)) << host.Run({"pool", "list"});
  EXPECT_EQ(host.Run({"start", "web1"}).out, "web1: started (warm)\n");
  EXPECT_EQ(host.RunInGuest("web1", "hostname").out, "web1\n");
  ASSERT_TRUE(Ok(host.Run({"stop", "web1"})));
  host.Finish();
}

}  // namespace
}  // namespace umld::tests
