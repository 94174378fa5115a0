// The real vmcore with real UML kernels.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/process.h"
#include "vmcore/e2e_rig.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

v1::Facts GetFacts(RigClient& client) {
  v1::Request request;
  request.mutable_get_facts();
  return client.Ask(request).facts();
}

v1::Request StopRequest(bool now) {
  v1::Request request;
  request.mutable_stop()->set_skip_orderly(now);
  return request;
}

v1::Request KillRequest() {
  v1::Request request;
  request.mutable_kill();
  return request;
}

v1::Request PauseRequest() {
  v1::Request request;
  request.mutable_pause();
  return request;
}

v1::Request ResumeRequest() {
  v1::Request request;
  request.mutable_resume();
  return request;
}

v1::Request PlugRequest(uint32_t unit, const std::string& path, bool live_only = false) {
  v1::Request request;
  request.mutable_plug_disk()->mutable_disk()->set_unit(unit);
  request.mutable_plug_disk()->mutable_disk()->set_path(path);
  request.mutable_plug_disk()->set_live_only(live_only);
  request.mutable_plug_disk()->set_etag(7);
  return request;
}

v1::Request UnplugRequest(uint32_t unit, bool live_only = false) {
  v1::Request request;
  request.mutable_unplug_disk()->set_unit(unit);
  request.mutable_unplug_disk()->set_live_only(live_only);
  request.mutable_unplug_disk()->set_etag(8);
  return request;
}

v1::Request MconsoleRequest(const std::string& command) {
  v1::Request request;
  request.mutable_mconsole()->set_command(command);
  return request;
}

// The guest is gone: vmcore left with code 0, the record is there, and no socket, process or folder of it.
void ExpectCleanEnd(Rig& rig, v1::Exit::Kind kind) {
  ASSERT_TRUE(rig.WaitForVmcore(seconds(40)));
  EXPECT_EQ(rig.vmcore_status(), 0);
  auto record = rig.ReadExit();
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->kind(), kind) << record->reason();
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(rig.run_dir())) files.insert(entry.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"exit", "launch", "status"}));
  EXPECT_TRUE(rig.NothingLeft(milliseconds(0)));
}

bool WaitForReboot(RigClient& client, bool by_guest) {
  return client
             .WaitForEvent(
                 [by_guest](const v1::Event& e) { return e.has_rebooted() && e.rebooted().by_guest() == by_guest; },
                 seconds(30))
             .has_value() &&
         client.WaitForState(v1::STATE_RUNNING);
}

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

// ---------------------------------------------------------------- consoles

TEST(VmcoreE2eTest, Con0TellsEverythingFromTheFirstLine) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con0", /*read_only=*/true);
  EXPECT_TRUE(console.Expect("Core dump limits"));
  EXPECT_TRUE(console.Expect("Checking that ptrace can change system call numbers...OK"));
  EXPECT_TRUE(console.Expect("Linux version 6."));
  EXPECT_TRUE(console.Expect("guest init up"));
  // Nothing of ours is handed to init, and the kernel complains of nothing we say.
  std::string log = ReadFile(rig.folder() + "/log/con0.log", 1 << 20).value_or("");
  EXPECT_EQ(log.rfind("Core dump limits", 0), 0U);
  EXPECT_EQ(log.find("setup_one_line failed"), std::string::npos);
  EXPECT_NE(log.find("Kernel command line: "), std::string::npos);
}

TEST(VmcoreE2eTest, ABigPasteArrivesWhole) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  EXPECT_TRUE(console.writer());
  console.Type("stty -echo; cat > /tmp/paste; echo REA''DY\n");
  console.Read(milliseconds(300));
  std::string text;
  for (int line = 0; line < 306; ++line) text += absl::StrCat(std::string(95, 'a' + line % 26), 1000 + line, "\n");
  ASSERT_EQ(text.size(), 30600U);
  console.Type(text);
  console.Type("\x04");
  ASSERT_TRUE(console.Expect("READY"));
  std::string host = rig.folder() + "/paste";
  std::ofstream(host) << text;
  auto sum = RunCommand({"md5sum", host}, seconds(10));
  ASSERT_TRUE(sum.ok());
  console.Type("wc -c /tmp/paste; md5sum /tmp/paste\n");
  EXPECT_TRUE(console.Expect("30600 /tmp/paste"));
  EXPECT_TRUE(console.Expect(sum->output.substr(0, 32)));
}

TEST(VmcoreE2eTest, OneViewerWritesTheOthersWatch) {
  Rig rig;
  rig.Boot();
  RigConsole first = rig.OpenConsole("con1"), second = rig.OpenConsole("con1"), watcher = rig.OpenConsole("con1", true);
  EXPECT_TRUE(first.writer());
  EXPECT_FALSE(second.writer());
  EXPECT_FALSE(watcher.writer());
  second.Type("echo not''typed\n");
  second.Type("echo not''typed\n");
  watcher.Type("echo nor''this\n");
  second.Read(milliseconds(300));
  EXPECT_EQ(second.notices(), std::vector<std::string>{"input is held by another viewer"});
  first.Type("echo ty''ped\n");
  for (RigConsole* viewer : {&first, &second, &watcher}) {
    EXPECT_TRUE(viewer->Expect("typed"));
    EXPECT_EQ(viewer->seen().find("nottyped"), std::string::npos);
  }
  EXPECT_EQ(GetFacts(rig.control()).viewers(), 3U);

  RigConsole third(rig.Connect(), "con1", false, 0, /*take_over=*/true);
  EXPECT_TRUE(third.writer());
  first.Read(milliseconds(300));
  EXPECT_FALSE(first.writer());
  ASSERT_EQ(first.notices().size(), 1U);
  third.Type("stty size; echo no''w\n");
  EXPECT_TRUE(third.Expect("24 200"));
  EXPECT_TRUE(second.Expect("now"));
}

TEST(VmcoreE2eTest, TheWritersWindowSizeReachesTheGuest) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  v1::Frame frame;
  frame.mutable_console()->set_rows(50);
  frame.mutable_console()->set_columns(133);
  console.client().Send(frame);
  console.Read(milliseconds(300));
  console.Type("stty size\n");
  EXPECT_TRUE(console.Expect("50 133"));
}

TEST(VmcoreE2eTest, ASlowViewerLosesBytesAndHoldsNobodyUp) {
  Rig rig;
  rig.Boot();
  RigConsole slow = rig.OpenConsole("con1", /*read_only=*/true);
  RigConsole quick = rig.OpenConsole("con1");
  quick.Type("yes 0123456789012345678901234567890123456789 | head -n 100000; echo do''ne\n");  // 4 MB
  ASSERT_TRUE(quick.Expect("done", seconds(60)));
  // It gets what is still there, and is told of the rest.
  quick.Type("echo la''st\n");
  ASSERT_TRUE(slow.Expect("last", seconds(20)));
  EXPECT_GT(slow.lost_bytes(), uint64_t{1} << 20);
  EXPECT_EQ(quick.lost_bytes(), 0U);
}

TEST(VmcoreE2eTest, ViewersSeeTheEnd) {
  Rig rig;
  rig.Boot();
  RigConsole con0 = rig.OpenConsole("con0", true), con1 = rig.OpenConsole("con1");
  con1.Type("poweroff -f\n");
  EXPECT_TRUE(con0.Expect("reboot: System halted"));
  con0.Read(seconds(3));
  con1.Read(seconds(1));
  EXPECT_TRUE(con0.eof());
  EXPECT_TRUE(con1.eof());
  ExpectCleanEnd(rig, v1::Exit::POWERED_OFF);
}

// ---------------------------------------------------------------- disks

TEST(VmcoreE2eTest, PlugsAndUnplugsASwapDisk) {
  Rig rig;
  rig.Boot();
  std::string swap = rig.MakeFile("swap", 4 << 20);
  v1::Reply reply = rig.control().Ask(PlugRequest(1, swap));
  ASSERT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().live_disks_size(), 2);
  EXPECT_EQ(reply.facts().config().disks_size(), 2);
  EXPECT_EQ(reply.facts().config().etag(), 7U);
  RigConsole console = rig.OpenConsole("con1");
  console.Type("grep ubd /proc/partitions; mkswap /dev/ubdb >/dev/null && swapon /dev/ubdb && cat /proc/swaps\n");
  EXPECT_TRUE(console.Expect("4096 ubdb"));
  EXPECT_TRUE(console.Expect("/dev/ubdb"));

  reply = rig.control().Ask(UnplugRequest(1));
  EXPECT_EQ(reply.error().reason(), "DEVICE_BUSY");
  EXPECT_EQ(reply.error().message(), "disk ubdb: it is in use inside the guest");
  EXPECT_NE(reply.error().hint().find("swapoff /dev/ubdb"), std::string::npos);

  console.Type("swapoff /dev/ubdb; echo fr''ee\n");
  EXPECT_TRUE(console.Expect("free"));
  reply = rig.control().Ask(UnplugRequest(1));
  EXPECT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().live_disks_size(), 1);
  EXPECT_EQ(reply.facts().config().disks_size(), 1);
  EXPECT_EQ(reply.facts().config().etag(), 8U);
  console.Type("grep -c ubd /proc/partitions\n");
  EXPECT_TRUE(console.Expect("1\r\n"));
}

TEST(VmcoreE2eTest, AMountedDiskStays) {
  Rig rig;
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(PlugRequest(2, rig.MakeFile("data", 4 << 20))).has_error());
  RigConsole console = rig.OpenConsole("con1");
  console.Type("mke2fs /dev/ubdc >/dev/null; mount /dev/ubdc /mnt && echo moun''ted\n");
  ASSERT_TRUE(console.Expect("mounted"));
  EXPECT_EQ(rig.control().Ask(UnplugRequest(2)).error().reason(), "DEVICE_BUSY");
  EXPECT_EQ(GetFacts(rig.control()).live_disks_size(), 2);
  console.Type("umount /mnt && echo f''ree\n");
  ASSERT_TRUE(console.Expect("free"));
  EXPECT_FALSE(rig.control().Ask(UnplugRequest(2)).has_error());
}

TEST(VmcoreE2eTest, WhatAPlugRefuses) {
  Rig rig;
  rig.Boot();
  std::string fifo = rig.folder() + "/fifo", file = rig.MakeFile("file", 1 << 20);
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  auto code = [&](const v1::Request& request) {
    return static_cast<absl::StatusCode>(rig.control().Ask(request).error().code());
  };
  EXPECT_EQ(code(PlugRequest(1, fifo)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(PlugRequest(1, rig.folder())), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(PlugRequest(1, rig.folder() + "/none")), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(PlugRequest(1, "relative")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(PlugRequest(16, file)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(PlugRequest(0, file)), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code(UnplugRequest(5)), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(PlugRequest(1, file)), absl::StatusCode::kOk);
  EXPECT_EQ(code(PlugRequest(2, file)), absl::StatusCode::kFailedPrecondition);
  // The kernel is none the worse for it.
  RigConsole console = rig.OpenConsole("con1");
  console.Type("echo al''ive\n");
  EXPECT_TRUE(console.Expect("alive"));
}

TEST(VmcoreE2eTest, LiveOnlyAndNextBoot) {
  Rig rig;
  rig.Boot();
  std::string live = rig.MakeFile("live", 1 << 20), kept = rig.MakeFile("kept", 2 << 20);
  ASSERT_FALSE(rig.control().Ask(PlugRequest(1, live, /*live_only=*/true)).has_error());
  ASSERT_FALSE(rig.control().Ask(PlugRequest(2, kept)).has_error());
  v1::Request reboot;
  reboot.mutable_reboot();
  ASSERT_FALSE(rig.control().Ask(reboot).has_error());
  ASSERT_TRUE(WaitForReboot(rig.control(), /*by_guest=*/false));
  v1::Facts facts = GetFacts(rig.control());
  EXPECT_EQ(facts.boots(), 2U);
  ASSERT_EQ(facts.live_disks_size(), 2);
  EXPECT_EQ(facts.live_disks(1).path(), kept);
}

TEST(VmcoreE2eTest, PlugRightAfterTheStartWaitsForTheDriver) {
  Rig rig;
  rig.Start(rig.NewLaunch());
  // Still starting: waits until the guest is up; then the mconsole is up half a second before the ubd driver.
  v1::Reply reply = rig.control().Ask(PlugRequest(1, rig.MakeFile("early", 1 << 20)));
  EXPECT_FALSE(reply.has_error()) << reply.error().message();
  RigConsole console = rig.OpenConsole("con1");
  ASSERT_TRUE(console.Expect("$ "));
  console.Type("grep -c ubd /proc/partitions\n");
  EXPECT_TRUE(console.Expect("2\r\n"));
}

TEST(VmcoreE2eTest, UbdaCanBePluggedWhenItWasNotGiven) {
  Rig rig;
  v1::Launch launch = rig.NewLaunch();
  launch.mutable_config()->mutable_disks(0)->set_unit(1);
  launch.mutable_config()->add_kernel_args("root=/dev/ubdb");
  rig.Start(launch);
  ASSERT_TRUE(rig.control().WaitForState(v1::STATE_RUNNING));
  v1::Reply reply = rig.control().Ask(PlugRequest(0, rig.MakeFile("a", 1 << 20)));
  EXPECT_FALSE(reply.has_error()) << reply.error().message();
  RigConsole console = rig.OpenConsole("con1");
  ASSERT_TRUE(console.Expect("$ "));
  console.Type("grep ubda /proc/partitions\n");
  EXPECT_TRUE(console.Expect("1024 ubda"));
  ASSERT_FALSE(rig.control().Ask(UnplugRequest(0)).has_error());
}

// ---------------------------------------------------------------- pause, mconsole

TEST(VmcoreE2eTest, PausesAndResumes) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  v1::Reply reply = rig.control().Ask(PauseRequest());
  ASSERT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().state(), v1::STATE_PAUSED);
  EXPECT_FALSE(rig.control().Ask(PauseRequest()).has_error());
  console.Type("echo wo''ken\n");
  EXPECT_FALSE(console.Expect("woken", milliseconds(500)));
  // Disks can be changed all the same.
  EXPECT_FALSE(rig.control().Ask(PlugRequest(1, rig.MakeFile("x", 1 << 20))).has_error());
  reply = rig.control().Ask(ResumeRequest());
  ASSERT_FALSE(reply.has_error());
  EXPECT_EQ(reply.facts().state(), v1::STATE_RUNNING);
  EXPECT_TRUE(console.Expect("woken"));
  console.Type("grep -c ubd /proc/partitions\n");
  EXPECT_TRUE(console.Expect("2\r\n"));
}

TEST(VmcoreE2eTest, APausedGuestStopsOrderly) {
  Rig rig;
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(PauseRequest()).has_error());
  ASSERT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "orderly");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, RawMconsoleCommands) {
  Rig rig;
  rig.Boot();
  v1::Reply reply = rig.control().Ask(MconsoleRequest("version"));
  EXPECT_EQ(reply.mconsole().err(), 0);
  EXPECT_EQ(reply.mconsole().text().rfind("Linux rig1 6.", 0), 0U) << reply.mconsole().text();
  // Many fragments, all of them.
  reply = rig.control().Ask(MconsoleRequest("sysrq m"));
  EXPECT_NE(reply.mconsole().text().find("Mem-Info"), std::string::npos);
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("nonsense")).mconsole().err(), 1);
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("sysrq t")).error().reason(), "KILLS_THE_GUEST");
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("config ubdb=/x")).error().reason(), "USE_PLUG");
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("go")).mconsole().text(), "Not stopped");
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("stop")).mconsole().text(), "stopped");
  EXPECT_EQ(GetFacts(rig.control()).state(), v1::STATE_PAUSED);
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("stop")).mconsole().text(), "Already stopped");
  EXPECT_EQ(rig.control().Ask(MconsoleRequest("go")).mconsole().err(), 0);
  EXPECT_EQ(GetFacts(rig.control()).state(), v1::STATE_RUNNING);
  EXPECT_FALSE(rig.control().Ask(MconsoleRequest("halt")).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "halt");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(VmcoreE2eTest, TheGuestSendsAMessage) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  console.Type("echo hello host > /proc/mconsole\n");
  auto event = rig.control().WaitForEvent([](const v1::Event& e) { return !e.user_message().empty(); }, seconds(10));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->user_message(), "hello host\n");
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
  con1.Type("echo again''there\n");
  EXPECT_TRUE(con1.Expect("againthere"));
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
                    Mode{"RootProcessGroup", 0, v1::ISOLATION_PROCESS_GROUP, v1::ISOLATION_PROCESS_GROUP},
                    Mode{"UserProcessGroup", kNobody, v1::ISOLATION_PROCESS_GROUP, v1::ISOLATION_PROCESS_GROUP}),
    [](const testing::TestParamInfo<Mode>& mode) { return mode.param.name; });

}  // namespace
}  // namespace umld::vmcore
