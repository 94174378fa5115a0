// A guest's life as the user steers it: every way to stop it, pausing, renaming, waiting, deleting, and what the guest
// does to itself.
#include <signal.h>

#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

using Lifecycle = SharedHost;

std::string RunFolder(const Json& guest) { return guest["processes"]["runtime_directory"]; }

// Processor time of all of a guest's processes, in ticks.
uint64_t TicksOf(const std::string& folder) {
  uint64_t ticks = 0;
  for (const ProcessInfo& process : ProcessesOf(folder)) {
    std::ifstream file(absl::StrCat("/proc/", process.pid, "/stat"));
    std::stringstream text;
    text << file.rdbuf();
    const std::string stat = text.str();
    if (stat.rfind(')') == std::string::npos) continue;
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(stat.rfind(')') + 2), ' ');
    ticks += std::stoull(fields[11]) + std::stoull(fields[12]);
  }
  return ticks;
}

TEST_F(Lifecycle, AnOrderlyStopLeavesACleanFileSystem) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "dd if=/dev/urandom of=/root/data bs=64k count=8; md5sum /root/data").exit_code,
            0);
  const Json guest = host_->Describe("web1");
  const std::string cow = DiskOf(guest, "ubda")["path"];
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["last_exit"]["stop_stage"], "orderly");
  EXPECT_EQ(Describe(ProcessesOf(RunFolder(guest))), "");
  ASSERT_TRUE(Ok(host_->Shell("uml_moo " + cow + " merged.img")));
  const CommandResult checked = host_->Shell("e2fsck -fn merged.img");
  EXPECT_TRUE(Ok(checked));
  EXPECT_THAT(checked.out + checked.err, Not(HasSubstr("recover")));
  EXPECT_THAT(host_->Shell("dumpe2fs -h merged.img").out,
              AllOf(ContainsRegex("Filesystem state: +clean"), Not(HasSubstr("needs_recovery"))));
  host_->Shell("rm merged.img");
}

TEST_F(Lifecycle, StopNowDoesNotAskInitAndLosesNothingWritten) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "echo written > /root/note").exit_code, 0);
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  const Json exit = host_->Describe("web1")["last_exit"];
  EXPECT_EQ(exit["kind"], "STOPPED");
  EXPECT_EQ(exit["stop_stage"], "halt");
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note").out, "written\n");
}

TEST_F(Lifecycle, AnInitThatDoesNotListenIsHaltedAfterTheTimeout) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(
      host_->RunInGuest("web1", "sed -i /ctrlaltdel/d /etc/inittab && kill -HUP 1 && echo kept >/root/n").exit_code, 0);
  ASSERT_TRUE(Ok(host_->Run({"stop", "--timeout", "1s", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["last_exit"]["stop_stage"], "halt");
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/n").out, "kept\n");
}

TEST_F(Lifecycle, AKernelThatDoesNotAnswerIsKilledAtTheEnd) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json guest = host_->Describe("web1");
  kill(guest["processes"]["kernel_pid"], SIGSTOP);
  const CommandResult stopped = host_->Run({"stop", "--timeout", "1s", "web1"});
  EXPECT_TRUE(Ok(stopped));
  const Json after = host_->Describe("web1");
  EXPECT_EQ(after["state"], "STOPPED");
  EXPECT_EQ(after["last_exit"]["stop_stage"], "kill");
  EXPECT_EQ(Describe(ProcessesOf(RunFolder(guest))), "");
}

TEST_F(Lifecycle, KillIsNotStuckBehindAStop) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json guest = host_->Describe("web1");
  kill(guest["processes"]["kernel_pid"], SIGSTOP);
  std::unique_ptr<Running> stop = host_->RunBeside({"stop", "--timeout", "1h", "web1"});
  ASSERT_TRUE(host_->WaitForState("web1", "STOPPING"));
  EXPECT_TRUE(Ok(host_->Run({"kill", "web1"})));
  EXPECT_EQ(Describe(ProcessesOf(RunFolder(guest))), "");
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  EXPECT_TRUE(stop->Wait().has_value()) << "the stop did not see that the guest has ended";
  EXPECT_EQ(host_->Describe("web1")["operation"], "");
}

TEST_F(Lifecycle, KillEndsAtOnceAndLeavesNothing) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json guest = host_->Describe("web1");
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  EXPECT_EQ(Describe(ProcessesOf(RunFolder(guest))), "");
  const Json after = host_->Describe("web1");
  EXPECT_EQ(after["state"], "STOPPED");
  EXPECT_EQ(after["last_exit"]["kind"], "KILLED");
  EXPECT_TRUE(Refused(host_->Run({"kill", "web1"}), kWrongState, {"web1", "not running"}));
  // The disk is free again, and what was on it is there.
  EXPECT_TRUE(Ok(host_->Run({"start", "web1"})));
}

TEST_F(Lifecycle, APausedGuestUsesNoProcessorUntilItIsResumed) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "(while :; do :; done) & true").exit_code, 0);
  const std::string folder = RunFolder(host_->Describe("web1"));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_EQ(host_->State("web1"), "PAUSED");
  const uint64_t paused = TicksOf(folder);
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_LE(TicksOf(folder), paused + 2);
  // Asked for what is so already.
  EXPECT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_EQ(host_->State("web1"), "PAUSED");
  // Its devices can be asked and changed all the same.
  EXPECT_TRUE(Ok(host_->Run({"mconsole", "web1", "version"})));
  ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_TRUE(WaitFor([&] { return TicksOf(folder) > paused + 20; }));
  EXPECT_TRUE(Ok(host_->Run({"resume", "web1"})));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(host_->RunInGuest("web1", "echo alive").out, "alive\n");
}

TEST_F(Lifecycle, APausedGuestIsStoppedInOrder) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["last_exit"]["stop_stage"], "orderly");
}

TEST_F(Lifecycle, ItsOwnPoweroffIsSeen) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string folder = RunFolder(host_->Describe("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "(sleep 1; poweroff) & true").exit_code, 0);
  ASSERT_TRUE(host_->WaitForState("web1", "STOPPED"));
  const Json guest = host_->Describe("web1");
  EXPECT_EQ(guest["last_exit"]["kind"], "POWERED_OFF");
  EXPECT_EQ(guest["wanted_running"], false);
  EXPECT_EQ(Describe(ProcessesOf(folder)), "");
}

TEST_F(Lifecycle, ItsOwnRebootIsANewKernelWithThePresentConfiguration) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json before = host_->Describe("web1");
  EXPECT_EQ(before["boots"], 1);
  const CommandResult set = host_->Run({"set", "web1", "--mem", "96M"});
  ASSERT_TRUE(Ok(set));
  EXPECT_THAT(set.err, HasSubstr("next boot"));
  EXPECT_EQ(host_->RunInGuest("web1", "echo $(awk '/MemTotal/ {print ($2 > 66000)}' /proc/meminfo)").out, "0\n");
  EXPECT_EQ(host_->RunInGuest("web1", "(sleep 1; reboot) & true").exit_code, 0);
  ASSERT_TRUE(WaitFor([&] {
    const Json guest = host_->Describe("web1");
    return guest["boots"] == 2 && guest["state"] == "RUNNING";
  })) << host_->Run({"describe", "web1"});
  const Json after = host_->Describe("web1");
  EXPECT_NE(after["processes"]["kernel_pid"], before["processes"]["kernel_pid"]);
  EXPECT_EQ(after["processes"]["supervisor_pid"], before["processes"]["supervisor_pid"]);
  EXPECT_EQ(host_->RunInGuest("web1", "awk '/MemTotal/ {print ($2 > 66000)}' /proc/meminfo").out, "1\n");
  std::vector<std::string> types;
  for (const Json& event : host_->Events("web1")) types.push_back(event["type"]);
  EXPECT_THAT(types, Contains("guest.rebooted"));
  EXPECT_THAT(types, Not(Contains("guest.crashed")));
  // One kernel, not two.
  int kernels = 0;
  for (const ProcessInfo& process : ProcessesOf(RunFolder(after))) {
    kernels += process.parent == after["processes"]["init_pid"];
  }
  EXPECT_EQ(kernels, 1) << Describe(ProcessesOf(RunFolder(after)));
}

TEST_F(Lifecycle, BootsAreCountedFromEachStart) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"reboot", "--now", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"reboot", "--now", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["boots"], 3);
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["boots"], 1);
}

TEST_F(Lifecycle, RenameKeepsEverythingButTheName) {
  ASSERT_TRUE(host_->CreateAndStart("old"));
  ASSERT_TRUE(host_->Create("taken"));
  const Json before = host_->Describe("old");
  EXPECT_TRUE(Refused(host_->Run({"rename", "old", "taken"}), kBusyOrExists, {"taken"}));
  EXPECT_TRUE(Refused(host_->Run({"rename", "old", ".bad"}), kUsage, {".bad"}));
  ASSERT_TRUE(Ok(host_->Run({"rename", "old", "new"})));
  EXPECT_THAT(host_->Names(), ElementsAre("new", "taken"));
  EXPECT_TRUE(Refused(host_->Run({"describe", "old"}), kNotFound, {"old"}));
  const Json after = host_->Describe("new");
  EXPECT_EQ(after["id"], before["id"]);
  EXPECT_EQ(after["state"], "RUNNING");
  EXPECT_EQ(after["processes"], before["processes"]);
  EXPECT_EQ(host_->RunInGuest("new", "hostname").out, "old\n");
  EXPECT_THAT(host_->UmlMconsole({"new", "version"}).out, HasSubstr("Linux"));
  EXPECT_NE(host_->UmlMconsole({"old", "version"}).exit_code, 0);
  // Its disks and settings can be changed as before.
  EXPECT_TRUE(Ok(host_->Run({"disk", "create", "renamed.img", "--size", "1M"})));
  EXPECT_TRUE(Ok(host_->Run({"plug", "new", "ubdb=renamed.img"})));
  EXPECT_TRUE(Ok(host_->Run({"set", "new", "--mem", "96M"})));
  ASSERT_TRUE(Ok(host_->Run({"reboot", "--now", "new"})));
  EXPECT_EQ(host_->RunInGuest("new", "hostname").out, "new\n");
  EXPECT_EQ(host_->RunInGuest("new", "awk '/MemTotal/ {print ($2 > 66000)}' /proc/meminfo").out, "1\n");
  EXPECT_EQ(DiskOf(host_->Describe("new"), "ubdb")["plugged"], true);
}

TEST_F(Lifecycle, OnlyARunningGuestIsPausedOrResumed) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"pause", "web1"}), kWrongState, {"web1", "not running", "start"}));
  EXPECT_TRUE(Refused(host_->Run({"resume", "web1"}), kWrongState, {"web1", "not running", "start"}));
  EXPECT_TRUE(Refused(host_->Run({"reboot", "web1"}), kWrongState, {"web1", "not running", "start"}));
  EXPECT_EQ(host_->State("web1"), "STOPPED");
}

TEST_F(Lifecycle, WithoutANameOneIsMade) {
  host_->BuildTiny();
  std::set<std::string> names;
  for (int i = 0; i < 3; ++i) {
    const CommandResult created = host_->Run({"create", "--image", "tiny", "--mem", "64M"});
    ASSERT_TRUE(Ok(created));
    EXPECT_THAT(created.out, ContainsRegex("^[a-z0-9_-]+\n$"));
    names.insert(created.out.substr(0, created.out.size() - 1));
  }
  EXPECT_EQ(names.size(), 3u);
  EXPECT_THAT(host_->Names(), testing::ElementsAreArray(names));
  EXPECT_TRUE(Ok(host_->Run({"start", *names.begin()})));
}

TEST_F(Lifecycle, SeveralGuestsAtOnceOneResultEach) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(host_->Create(name));
  const CommandResult started = host_->Run({"start", "a", "nobody", "b"});
  EXPECT_EQ(started.exit_code, kNotFound);
  EXPECT_THAT(started.err, AllOf(HasSubstr("nobody"), HasSubstr("hint: ")));
  EXPECT_THAT(std::vector<std::string>(absl::StrSplit(started.out, '\n', absl::SkipEmpty())),
              UnorderedElementsAre(StartsWith("a: started"), StartsWith("b: started")));
  EXPECT_EQ(host_->State("c"), "STOPPED");
  EXPECT_TRUE(Ok(host_->Run({"start", "--all"})));
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(host_->State(name), "RUNNING");
  EXPECT_TRUE(Ok(host_->Run({"stop", "--now", "--all"})));
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(host_->State(name), "STOPPED");
  EXPECT_TRUE(Refused(host_->Run({"start"}), kUsage, {}));
}

TEST_F(Lifecycle, WaitReturnsWhenTheStateIsReached) {
  ASSERT_TRUE(host_->Create("web1"));
  std::unique_ptr<Running> wait = host_->RunBeside({"wait", "web1", "--for", "running"});
  EXPECT_FALSE(wait->Wait(absl::Milliseconds(500)).has_value()) << "a stopped guest is taken for a running one";
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(wait->Wait(), kOk) << wait->err();
  // It is so already.
  EXPECT_TRUE(Ok(host_->Run({"wait", "web1", "--for", "running"})));
  EXPECT_TRUE(
      Refused(host_->Run({"wait", "web1", "--for", "stopped", "--timeout", "300ms"}), kTimedOut, {"web1", "RUNNING"}));
  EXPECT_TRUE(Refused(host_->Run({"wait", "nobody"}), kNotFound, {"nobody"}));
  std::unique_ptr<Running> stopped = host_->RunBeside({"wait", "web1", "--for", "stopped"});
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_EQ(stopped->Wait(), kOk) << stopped->err();
}

TEST_F(Lifecycle, DeleteByForceLeavesNothing) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json guest = host_->Describe("web1");
  EXPECT_TRUE(Refused(host_->Run({"delete", "web1"}), kWrongState, {"web1", "--force"}));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  ASSERT_TRUE(Ok(host_->Run({"delete", "--force", "web1"})));
  EXPECT_EQ(Describe(ProcessesOf(RunFolder(guest))), "");
  EXPECT_THAT(host_->Names(), IsEmpty());
  EXPECT_THAT(FilesUnder(host_->state_dir() + "/guests"), IsEmpty());
  EXPECT_THAT(FilesUnder(host_->run_dir() + "/guests"), IsEmpty());
  // The name is free again.
  EXPECT_TRUE(host_->Create("web1"));
}

TEST_F(Lifecycle, AnImageInUseIsNotDeleted) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", "tiny"}), kWrongState, {"tiny", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"image", "delete", "tiny"})));
  EXPECT_TRUE(
      Refused(host_->Run({"create", "web1", "--image", "tiny"}), kNotFound, {"tiny", "umlctl image build tiny"}));
}

TEST_F(Lifecycle, AStoppedDaemonLeavesNoSocketBehind) {
  ASSERT_TRUE(Ok(host_->Shell("test -S " + host_->socket())));
  host_->Stop();
  EXPECT_FALSE(Ok(host_->Shell("test -e " + host_->socket()))) << "the API's socket outlives its daemon";
}

}  // namespace
}  // namespace umld::tests
