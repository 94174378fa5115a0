// Lives and ends of real guests under the real vmcore.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "vmcore/e2e_requests.h"
#include "vmcore/e2e_rig.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Kilobytes that would be free if the process were gone.
int PrivateKilobytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/smaps_rollup"));
  int sum = 0, kilobytes = 0;
  for (std::string line; std::getline(file, line);) {
    if (sscanf(line.c_str(), "Private_Clean: %d", &kilobytes) == 1) sum += kilobytes;
    if (sscanf(line.c_str(), "Private_Dirty: %d", &kilobytes) == 1) sum += kilobytes;
  }
  return sum;
}

TEST(VmcoreE2eTest, TakesLittleMemory) {
  // Two, so that what all guests of a host share is not counted.
  Rig other, rig;
  other.Boot();
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  int vmcore = PrivateKilobytes(rig.vmcore()), init = PrivateKilobytes(facts.init().pid());
  std::printf("private memory: vmcore %d KiB, init %d KiB\n", vmcore, init);
  EXPECT_GT(vmcore, 0);
  EXPECT_LE(vmcore + init, 1536);
}

TEST(VmcoreE2eTest, BootsAndStopsOrderly) {
  Rig rig;
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  EXPECT_EQ(facts.state(), v1::STATE_RUNNING);
  EXPECT_EQ(facts.isolation(), v1::ISOLATION_PID_NAMESPACE);
  EXPECT_EQ(facts.vmcore().pid(), rig.vmcore());
  EXPECT_TRUE(IsAlive({facts.init().pid(), facts.init().start_ticks()}));
  EXPECT_TRUE(IsAlive({facts.kernel().pid(), facts.kernel().start_ticks()}));
  EXPECT_EQ(facts.boots(), 1U);
  EXPECT_EQ(facts.boot_id(), ReadBootId());
  EXPECT_EQ(facts.live_disks_size(), 1);
  EXPECT_EQ(facts.consoles_size(), 2);
  EXPECT_TRUE(facts.mconsole_answers());
  EXPECT_NE(facts.kernel_version().find("rig1 6."), std::string::npos) << facts.kernel_version();

  EXPECT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->kind(), v1::Exit::STOPPED) << exit->reason();
  EXPECT_EQ(exit->stop_stage(), "orderly");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, AnIdleGuestCostsNoWakeups) {
  Rig rig;
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  auto switches = [](pid_t pid) {
    std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
    int count = -1;
    for (std::string line; std::getline(file, line);) sscanf(line.c_str(), "voluntary_ctxt_switches: %d", &count);
    return count;
  };
  std::this_thread::sleep_for(seconds(2));  // the rig's console is detached, the guest settles
  int vmcore = switches(rig.vmcore()), init = switches(facts.init().pid());
  std::this_thread::sleep_for(seconds(6));
  EXPECT_EQ(switches(rig.vmcore()), vmcore);
  EXPECT_EQ(switches(facts.init().pid()), init);
}

// ---------------------------------------------------------------- ends

TEST(VmcoreE2eTest, StopsAtOnce) {
  Rig rig;
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(StopRequest(true)).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "halt");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, ASecondStopShortensTheFirst) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  console.Type("echo 0 > /proc/sys/kernel/ctrl-alt-del; echo de''af\n");  // ctrl-alt-del does nothing now
  ASSERT_TRUE(console.Expect("deaf"));
  ASSERT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  EXPECT_FALSE(rig.control().WaitForExit(seconds(3)).has_value());
  EXPECT_EQ(rig.control().Ask(PauseRequest()).error().reason(), "WRONG_STATE");
  ASSERT_FALSE(rig.control().Ask(StopRequest(true)).has_error());
  auto exit = rig.control().WaitForExit(seconds(5));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "halt");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, AStopEndsAGuestThatDoesNotListen) {
  Rig rig;
  rig.Boot();
  // The whole kernel stands still, so no step of a stop but the last can work.
  ASSERT_EQ(kill(GetFacts(rig.control()).kernel().pid(), SIGSTOP), 0);
  v1::Request request;
  request.mutable_stop()->set_orderly_grace_ms(500);
  request.mutable_stop()->set_halt_grace_ms(500);
  request.mutable_stop()->set_term_grace_ms(500);
  ASSERT_FALSE(rig.control().Ask(request).has_error());
  auto exit = rig.control().WaitForExit(seconds(10));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "kill");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, AGuestThatIsStartingCanBeStopped) {
  Rig rig;
  rig.Start(rig.NewLaunch());
  ASSERT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  auto exit = rig.control().WaitForExit(seconds(10));
  ASSERT_TRUE(exit.has_value());
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, Kill) {
  Rig rig;
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(KillRequest()).has_error());
  auto exit = rig.control().WaitForExit(seconds(5));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->reason(), "killed");
  ExpectCleanEnd(rig, v1::Exit::KILLED);
}

TEST(VmcoreE2eTest, AGuestPowersItselfOff) {
  Rig rig;
  rig.Boot();
  rig.OpenConsole("con1").Type("echo 42 > /proc/exitcode; poweroff -f\n");
  auto exit = rig.control().WaitForExit(seconds(10));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->reason(), "powered off");
  EXPECT_EQ(exit->exit_code(), 42);
  ExpectCleanEnd(rig, v1::Exit::POWERED_OFF);
}

TEST(VmcoreE2eTest, AGuestRebootsItself) {
  Rig rig;
  rig.Boot();
  RigConsole con0 = rig.OpenConsole("con0", true), con1 = rig.OpenConsole("con1");
  pid_t before = GetFacts(rig.control()).kernel().pid();
  con1.Type("reboot -f\n");
  ASSERT_TRUE(WaitForReboot(rig.control(), /*by_guest=*/true));
  v1::Facts facts = GetFacts(rig.control());
  EXPECT_EQ(facts.boots(), 2U);
  EXPECT_NE(facts.kernel().pid(), before);
  // The same viewers, the same history.
  EXPECT_TRUE(con0.Expect("guest init up"));
  EXPECT_TRUE(con0.Expect("reboot: Restarting system"));
  EXPECT_TRUE(con0.Expect("Core dump limits"));
  EXPECT_TRUE(con0.Expect("guest init up"));
  // A shell that is just opening its terminal drops what was typed before: typed until it listens.
  bool heard = false;
  for (int attempt = 0; attempt < 30 && !heard; ++attempt) {
    con1.Type("echo again''there\n");
    heard = con1.Expect("againthere", std::chrono::seconds(1));
  }
  EXPECT_TRUE(heard);
}

TEST(VmcoreE2eTest, CtrlAltDelIsAGuestsReboot) {
  Rig rig;
  rig.Boot();
  EXPECT_FALSE(rig.control().Ask(MconsoleRequest("cad")).has_error());
  EXPECT_TRUE(WaitForReboot(rig.control(), /*by_guest=*/true));
}

TEST(VmcoreE2eTest, APanicIsACrashWithItsReason) {
  Rig rig;
  v1::Launch launch = rig.NewLaunch();
  launch.mutable_config()->add_kernel_args("root=/dev/ubdq");
  rig.Start(launch);
  auto exit = rig.control().WaitForExit(seconds(20));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->reason().rfind("Kernel panic - not syncing: VFS: Unable to mount root fs on", 0), 0U)
      << exit->reason();
  EXPECT_EQ(exit->signal(), SIGABRT);
  EXPECT_EQ(exit->last_lines_size(), 20);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST(VmcoreE2eTest, AKernelThatIsKilledIsACrash) {
  Rig rig;
  rig.Boot();
  ASSERT_EQ(kill(GetFacts(rig.control()).kernel().pid(), SIGKILL), 0);
  auto exit = rig.control().WaitForExit(seconds(5));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->reason(), "killed by signal 9 (SIGKILL)");
  EXPECT_EQ(exit->signal(), SIGKILL);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST(VmcoreE2eTest, AnInitThatIsKilledIsACrash) {
  Rig rig;
  rig.Boot();
  ASSERT_EQ(kill(GetFacts(rig.control()).init().pid(), SIGKILL), 0);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST(VmcoreE2eTest, AKernelThatCannotBeRun) {
  for (const char* kernel : {"/nonexistent/linux", "/etc/passwd", "/bin/true"}) {
    Rig rig;
    v1::Launch launch = rig.NewLaunch();
    launch.mutable_config()->set_kernel(kernel);
    rig.Start(launch);
    ExpectCleanEnd(rig, v1::Exit::CRASHED);
    auto record = rig.ReadExit();
    ASSERT_TRUE(record.has_value());
    EXPECT_FALSE(record->reason().empty());
    std::printf("%s: %s\n", kernel, record->reason().c_str());
  }
}

TEST(VmcoreE2eTest, ADiskThatIsGoneIsToldBeforeTheBoot) {
  Rig rig;
  v1::Launch launch = rig.NewLaunch();
  launch.mutable_config()->mutable_disks(0)->set_path(rig.folder() + "/none");
  rig.Start(launch);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
  EXPECT_NE(rig.ReadExit()->reason().find("ubda"), std::string::npos) << rig.ReadExit()->reason();
}

TEST(VmcoreE2eTest, SigtermIsAnOrderlyStop) {
  Rig rig;
  rig.Boot();
  kill(rig.vmcore(), SIGHUP);  // means nothing
  kill(rig.vmcore(), SIGTERM);
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
  EXPECT_EQ(rig.ReadExit()->stop_stage(), "orderly");
}

// ---------------------------------------------------------------- umld away, and other hosts

TEST(VmcoreE2eTest, LivesOnWithoutUmldAndIsFoundAgain) {
  Rig rig;
  rig.Boot();
  rig.CloseControl();
  RigConsole console = rig.OpenConsole("con1");
  console.Type("echo st''ill\n");
  EXPECT_TRUE(console.Expect("still"));
  RigClient umld(rig.Connect());
  v1::Reply hello = umld.Hello();
  EXPECT_EQ(hello.facts().state(), v1::STATE_RUNNING);
  EXPECT_EQ(hello.facts().vmcore().pid(), rig.vmcore());
  // A status for those who cannot ask.
  v1::Facts status;
  ASSERT_TRUE(status.ParseFromString(ReadFile(rig.run_dir() + "/status", 1 << 20).value_or("")));
  EXPECT_EQ(status.state(), v1::STATE_RUNNING);
  v1::Request subscribe;
  subscribe.mutable_subscribe();
  umld.Ask(subscribe);
  ASSERT_FALSE(umld.Ask(StopRequest(true)).has_error());
  EXPECT_TRUE(umld.WaitForExit().has_value());
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, AStrangerOnTheSocketIsNoHarm) {
  Rig rig;
  rig.Boot();
  RigClient rude(rig.Connect());
  v1::Request request;
  request.mutable_get_facts();
  EXPECT_EQ(rude.Ask(request).error().reason(), "NO_HELLO");
  UniqueFd garbage = rig.Connect();
  EXPECT_TRUE(SendPacket(garbage.get(), "\xff\xff\xff\xff").ok());
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_TRUE(absl::IsUnavailable(ReceivePacket(garbage.get()).status()));
  RigClient polite(rig.Connect());
  EXPECT_FALSE(polite.Hello().has_error());
  v1::Request unknown;
  EXPECT_EQ(polite.Ask(unknown).error().reason(), "OLD_VMCORE");
}

// What must hold however the guest's processes are held together.
struct Mode {
  const char* name;
  uid_t uid;
  v1::Isolation asked, got;
};
class VmcoreModeTest : public testing::TestWithParam<Mode> {
 protected:
  void Boot(Rig& rig) {
    v1::Launch launch = rig.NewLaunch();
    launch.set_isolation(GetParam().asked);
    rig.Start(launch, GetParam().uid);
    ASSERT_TRUE(rig.control().WaitForState(v1::STATE_RUNNING));
    ASSERT_TRUE(rig.OpenConsole("con1").Expect("$ "));
    v1::Facts facts = GetFacts(rig.control());
    EXPECT_EQ(facts.isolation(), GetParam().got);
    EXPECT_TRUE(IsAlive({facts.kernel().pid(), facts.kernel().start_ticks()}));
    EXPECT_GT(rig.Processes().size(), 3U);
  }
};

TEST_P(VmcoreModeTest, WorksAndStops) {
  Rig rig;
  Boot(rig);
  EXPECT_FALSE(rig.control().Ask(MconsoleRequest("version")).has_error());
  rig.OpenConsole("con1").Type("reboot -f\n");
  ASSERT_TRUE(WaitForReboot(rig.control(), /*by_guest=*/true));
  ASSERT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST_P(VmcoreModeTest, KillLeavesNothing) {
  Rig rig;
  Boot(rig);
  ASSERT_FALSE(rig.control().Ask(KillRequest()).has_error());
  ExpectCleanEnd(rig, v1::Exit::KILLED);
}

TEST_P(VmcoreModeTest, AKilledKernelLeavesNothing) {
  Rig rig;
  Boot(rig);
  ASSERT_EQ(kill(GetFacts(rig.control()).kernel().pid(), SIGKILL), 0);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST_P(VmcoreModeTest, AKilledVmcoreLeavesNothing) {
  Rig rig;
  Boot(rig);
  ASSERT_EQ(kill(rig.vmcore(), SIGKILL), 0);
  ASSERT_TRUE(rig.WaitForVmcore());
  EXPECT_TRUE(rig.NothingLeft());
  // The lock is free as soon as nothing is left.
  EXPECT_TRUE(rig.LockIsFree());
}

TEST_P(VmcoreModeTest, AKilledInitLeavesNothing) {
  Rig rig;
  Boot(rig);
  ASSERT_EQ(kill(GetFacts(rig.control()).init().pid(), SIGKILL), 0);
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

constexpr uid_t kNobody = 65534;
INSTANTIATE_TEST_SUITE_P(
    , VmcoreModeTest,
    testing::Values(Mode{"Root", 0, v1::ISOLATION_AUTO, v1::ISOLATION_PID_NAMESPACE},
                    Mode{"User", kNobody, v1::ISOLATION_AUTO, v1::ISOLATION_USER_NAMESPACE},
                    Mode{"RootUserNamespace", 0, v1::ISOLATION_USER_NAMESPACE, v1::ISOLATION_USER_NAMESPACE},
                    Mode{"RootProcessGroup", 0, v1::ISOLATION_PROCESS_GROUP, v1::ISOLATION_PROCESS_GROUP},
                    Mode{"UserProcessGroup", kNobody, v1::ISOLATION_PROCESS_GROUP, v1::ISOLATION_PROCESS_GROUP}),
    [](const testing::TestParamInfo<Mode>& mode) { return mode.param.name; });

}  // namespace
}  // namespace umld::vmcore
