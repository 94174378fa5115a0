// Consoles, disks and the management console of real guests under the real vmcore.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/process.h"
#include "vmcore/e2e_requests.h"
#include "vmcore/e2e_rig.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---------------------------------------------------------------- consoles

TEST(DevicesE2eTest, Con0TellsEverythingFromTheFirstLine) {
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

TEST(DevicesE2eTest, ABigPasteArrivesWhole) {
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

// No signal tells the kernel of what lies there already when it opens a console. (What comes between a close and the
// next open, the kernel drops itself.)
TEST(DevicesE2eTest, WhatIsTypedBeforeTheGuestOpensAConsoleIsRead) {
  Rig rig;
  v1::Launch launch = rig.NewLaunch();
  for (int unit : {2, 3, 4}) {
    v1::ConsoleConfig* console = launch.mutable_config()->add_consoles();
    console->set_device(absl::StrCat("con", unit));
    console->set_channels("fd:0,fd:1");
  }
  rig.Start(launch);
  ASSERT_TRUE(rig.control().WaitForState(v1::STATE_RUNNING));
  RigConsole shell = rig.OpenConsole("con1");
  ASSERT_TRUE(shell.Expect("$ "));
  for (int unit : {2, 3, 4}) {
    rig.OpenConsole(absl::StrCat("con", unit)).Type(absl::StrCat("line ", unit, "\n"));
    shell.Type(absl::StrCat("sleep 1; head -n 1 </dev/tty", unit, " | tr a-z A-Z\n"));
    EXPECT_TRUE(shell.Expect(absl::StrCat("LINE ", unit)));
  }
}

// Whenever it wakes up: it finds its memory, and its kernel has to end nobody. Best tried on a busy host.
TEST(DevicesE2eTest, AGuestThatGivesMemoryBackHasItWhenItWakesUp) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  console.Type(
      "mkdir /tmp/m; mount -t tmpfs none /tmp/m; "
      "while :; do dd if=/dev/zero of=/tmp/m/x bs=64k count=320 2>/dev/null; rm /tmp/m/x; usleep $((RANDOM % 100))000; "
      "done & echo RUN''NING\n");
  ASSERT_TRUE(console.Expect("RUNNING"));
  v1::Request pulse;
  pulse.mutable_reclaim_memory()->set_worth_bytes(1);
  // A busy host is slow.
  v1::Facts facts;
  for (int round = 0; round < 1000 || (round < 10'000 && facts.reclaimed().count() <= 20); ++round) {
    usleep(5000);
    EXPECT_FALSE(rig.control().Ask(pulse).has_error());
    if (round >= 999) facts = GetFacts(rig.control());
  }
  EXPECT_GT(facts.reclaimed().count(), 20U);
  EXPECT_GT(facts.reclaimed().total_bytes(), uint64_t{100} << 20);
  EXPECT_EQ(facts.lent_memory_bytes(), 0U);
  console.Type("echo STILL'' THERE\n");
  EXPECT_TRUE(console.Expect("STILL THERE"));
  const std::string log = ReadFile(rig.folder() + "/log/con0.log", 1 << 20).value_or("");
  EXPECT_NE(log.find("guest init up"), std::string::npos);
  EXPECT_EQ(log.find("oom-killer"), std::string::npos);
}

TEST(DevicesE2eTest, OneViewerWritesTheOthersWatch) {
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

TEST(DevicesE2eTest, TheWritersWindowSizeReachesTheGuest) {
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

TEST(DevicesE2eTest, ASlowViewerLosesBytesAndHoldsNobodyUp) {
  Rig rig;
  rig.Boot();
  RigConsole slow = rig.OpenConsole("con1", /*read_only=*/true);
  RigConsole quick = rig.OpenConsole("con1");
  quick.Type("yes 0123456789012345678901234567890123456789 | head -n 50000; echo do''ne\n");  // 2 MB
  ASSERT_TRUE(quick.Expect("done", seconds(60)));
  // It gets what is still there, and is told of the rest.
  quick.Type("echo la''st\n");
  ASSERT_TRUE(slow.Expect("last", seconds(20)));
  EXPECT_GT(slow.lost_bytes(), uint64_t{1} << 20);
  EXPECT_EQ(quick.lost_bytes(), 0U);
}

TEST(DevicesE2eTest, ViewersSeeTheEnd) {
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

TEST(DevicesE2eTest, PlugsAndUnplugsASwapDisk) {
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

TEST(DevicesE2eTest, AMountedDiskStays) {
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

TEST(DevicesE2eTest, WhatAPlugRefuses) {
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

TEST(DevicesE2eTest, LiveOnlyAndNextBoot) {
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

TEST(DevicesE2eTest, PlugRightAfterTheStartWaitsForTheDriver) {
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

TEST(DevicesE2eTest, WhatAPredecessorAskedForIsWaitedFor) {
  Rig rig;
  rig.Start(rig.NewLaunch());
  // Asked while the guest starts, by a umld that does not live to hear the answer.
  v1::Frame frame;
  frame.set_id(1000);
  *frame.mutable_request() = PlugRequest(1, rig.MakeFile("orphan", 1 << 20));
  rig.control().Send(frame);
  rig.CloseControl();
  RigClient successor(rig.Connect());
  ASSERT_FALSE(successor.Hello().has_error());
  v1::Request settle;
  settle.mutable_settle();
  v1::Reply reply = successor.Ask(settle);
  ASSERT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().live_disks_size(), 2);
  EXPECT_EQ(reply.facts().config().disks_size(), 2);
  EXPECT_EQ(reply.facts().config().etag(), 7U);
}

TEST(DevicesE2eTest, UbdaCanBePluggedWhenItWasNotGiven) {
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

TEST(DevicesE2eTest, PausesAndResumes) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  v1::Reply reply = rig.control().Ask(PauseRequest());
  ASSERT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().state(), v1::STATE_PAUSED);
  EXPECT_FALSE(rig.control().Ask(PauseRequest()).has_error());
  console.Type("echo wo''ken\n");
  EXPECT_FALSE(console.Expect("woken", milliseconds(500)));
  EXPECT_EQ(rig.control().Ask(PlugRequest(1, rig.MakeFile("x", 1 << 20))).error().reason(), "GUEST_PAUSED");
  reply = rig.control().Ask(ResumeRequest());
  ASSERT_FALSE(reply.has_error());
  EXPECT_EQ(reply.facts().state(), v1::STATE_RUNNING);
  EXPECT_TRUE(console.Expect("woken"));
  EXPECT_FALSE(rig.control().Ask(PlugRequest(1, rig.MakeFile("x", 1 << 20))).has_error());
  console.Type("grep -c ubd /proc/partitions\n");
  EXPECT_TRUE(console.Expect("2\r\n"));
}

TEST(DevicesE2eTest, APauseWaitsForWhatWasAskedBefore) {
  Rig rig;
  rig.Start(rig.NewLaunch());
  ASSERT_TRUE(rig.control().WaitForState(v1::STATE_RUNNING));
  // The disks' driver is not up yet, so this takes its time.
  v1::Frame plug;
  plug.set_id(1000);
  *plug.mutable_request() = PlugRequest(1, rig.MakeFile("x", 1 << 20));
  rig.control().Send(plug);
  v1::Frame pause;
  pause.set_id(1001);
  *pause.mutable_request() = PauseRequest();
  rig.control().Send(pause);
  EXPECT_EQ(rig.control().Ask(PlugRequest(2, rig.MakeFile("y", 1 << 20))).error().reason(), "GUEST_PAUSED");
  v1::Reply reply = rig.control().Ask(PauseRequest());
  ASSERT_FALSE(reply.has_error()) << reply.error().message();
  EXPECT_EQ(reply.facts().state(), v1::STATE_PAUSED);
  EXPECT_EQ(reply.facts().live_disks_size(), 2);
  ASSERT_FALSE(rig.control().Ask(ResumeRequest()).has_error());
  RigConsole console = rig.OpenConsole("con1");
  ASSERT_TRUE(console.Expect("$ "));
  console.Type("grep -c ubd /proc/partitions\n");
  EXPECT_TRUE(console.Expect("2\r\n"));
}

TEST(DevicesE2eTest, APausedGuestStopsOrderly) {
  Rig rig;
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(PauseRequest()).has_error());
  ASSERT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->stop_stage(), "orderly");
  ExpectCleanEnd(rig, v1::Exit::STOPPED);
}

TEST(DevicesE2eTest, RawMconsoleCommands) {
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

TEST(DevicesE2eTest, TheGuestSendsAMessage) {
  Rig rig;
  rig.Boot();
  RigConsole console = rig.OpenConsole("con1");
  console.Type("echo hello host > /proc/mconsole\n");
  auto event = rig.control().WaitForEvent([](const v1::Event& e) { return !e.user_message().empty(); }, seconds(10));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->user_message(), "hello host\n");
}

}  // namespace
}  // namespace umld::vmcore
