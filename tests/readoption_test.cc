// umld killed with -9 or restarted under running guests: they do not notice, and the next umld has them all again.
#include <signal.h>

#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;

using testing::HasSubstr;

using Readoption = SharedHost;

// All that makes a guest's processes the same ones.
std::vector<ProcessIdentity> Identities(const Json& guest) {
  std::vector<ProcessIdentity> identities;
  for (const char* which : {"supervisor_pid", "init_pid", "kernel_pid"}) {
    const pid_t pid = guest.value("processes", Json::object()).value(which, 0);
    identities.push_back(IdentifyProcess(pid).value_or(ProcessIdentity{}));
  }
  return identities;
}

TEST_F(Readoption, EveryGuestIsThereAgainAsItWas) {
  const std::vector<std::string> names = {"a", "b", "c", "paused", "stopped"};
  for (const std::string& name : names) ASSERT_TRUE(host_->CreateAndStart(name));
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "stopped"})));
  ASSERT_TRUE(Ok(host_->Run({"pause", "paused"})));
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "live.img", "--size", "4M"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "a", "ubdc=live.img", "--live-only"})));
  // A variable of the shell lives as long as this login does.
  EXPECT_EQ(host_->RunInGuest("a", "mark=seventeen").exit_code, 0);
  std::map<std::string, Json> before;
  std::map<std::string, std::vector<ProcessIdentity>> processes;
  for (const std::string& name : names) before[name] = host_->Describe(name);
  for (const std::string& name : names) processes[name] = Identities(before[name]);
  const std::string history = host_->Run({"logs", "a"}).out;

  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round == 0 ? "killed" : "asked to end");
    round == 0 ? host_->Kill9() : host_->Stop();
    for (const char* name : {"a", "b", "c", "paused"}) {
      EXPECT_EQ(Identities(before[name]), processes[name]) << name << " did not outlive umld";
    }
    EXPECT_TRUE(Refused(host_->Run({"list"}), kUnreachable, {"umld", host_->socket()}));
    ASSERT_TRUE(host_->Start());
    for (const std::string& name : names) {
      SCOPED_TRACE(name);
      const Json after = host_->Describe(name);
      // At once, without a wait: umld serves when it has them.
      EXPECT_EQ(after["state"], before[name]["state"]);
      EXPECT_EQ(Identities(after), processes[name]);
      for (const char* field : {"id", "processes", "start_time", "boots", "disks", "kernel_version", "isolation"}) {
        EXPECT_EQ(after.value(field, Json()), before[name].value(field, Json())) << field;
      }
    }
  }
  EXPECT_EQ(host_->RunInGuest("a", "echo $mark").out, "seventeen\n");
  EXPECT_EQ(host_->Run({"logs", "a"}).out.substr(0, history.size()), history);
  EXPECT_TRUE(Ok(host_->Run({"resume", "paused"})));
  EXPECT_EQ(host_->RunInGuest("paused", "echo awake").out, "awake\n");
  // It is still the live-only one.
  EXPECT_EQ(DiskOf(host_->Describe("a"), "ubdc")["persistent"], false);
  EXPECT_TRUE(Ok(host_->Run({"unplug", "a", "ubdc"})));
  EXPECT_TRUE(Ok(host_->Run({"stop", "a"})));
  EXPECT_EQ(host_->Describe("a")["last_exit"]["stop_stage"], "orderly");
}

TEST_F(Readoption, NoByteOfTheConsoleIsLostMeanwhile) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  // Into both consoles for as long as it takes to kill and start umld three times.
  EXPECT_EQ(host_
                ->RunInGuest("web1",
                             "(i=0; until test -e /tmp/end; do i=$((i+1)); echo tick$i.; echo tock$i. > "
                             "/dev/kmsg; usleep 5000; done; echo last$i.; echo last$i. > /dev/kmsg) & :")
                .exit_code,
            0);
  for (int round = 0; round < 3; ++round) {
    host_->Kill9();
    absl::SleepFor(absl::Milliseconds(300));
    ASSERT_TRUE(host_->Start());
  }
  // A busy host is slow.
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(host_->Run({"logs", "web1", "con1"}).out, "tick41."); }));
  ASSERT_EQ(host_->RunInGuest("web1", "touch /tmp/end").exit_code, 0);
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(host_->Run({"logs", "web1", "con0"}).out, "last"); }));
  const std::string con0 = host_->Run({"logs", "web1", "con0"}).out, con1 = host_->Run({"logs", "web1", "con1"}).out;
  int count = 0;
  while (absl::StrContains(con1, absl::StrCat("tick", count + 1, "."))) ++count;
  EXPECT_GT(count, 40);
  EXPECT_THAT(con1, HasSubstr(absl::StrCat("last", count, "."))) << "the login's console has a hole after " << count;
  EXPECT_FALSE(absl::StrContains(con1, absl::StrCat("tick", count + 2, ".")));
  for (int i = 1; i <= count; ++i) {
    ASSERT_TRUE(absl::StrContains(con0, absl::StrCat("tock", i, "."))) << "con0 has a hole";
  }
  // The history that a new viewer sees goes back beyond the last restart too.
  const CommandResult seen = host_->Run({"console", "web1", "con1", "--read-only", "--history", "64K"});
  EXPECT_TRUE(Ok(seen));
  EXPECT_THAT(seen.out, HasSubstr(absl::StrCat("tick", count - 30, ".")));
}

// A log of which one place looks like another.
TEST_F(Readoption, AFollowedLogGoesOnWhereItWas) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(
      host_->RunInGuest("web1", "(until test -e /tmp/end; do echo tick; usleep 5000; done; echo last) & :").exit_code,
      0);
  std::unique_ptr<Running> follower = host_->RunBeside({"logs", "-f", "web1", "con1"});
  ASSERT_TRUE(follower->ReadUntil("tick\r\ntick")) << follower->err();
  for (bool killed : {true, false}) {
    const size_t known = follower->err().size();
    killed ? host_->Kill9() : host_->Stop();
    absl::SleepFor(absl::Milliseconds(300));
    ASSERT_TRUE(host_->Start());
    ASSERT_TRUE(follower->ReadUntil([&](const std::string&) {
      return absl::StrContains(absl::string_view(follower->err()).substr(known), "umld is back");
    })) << follower->err();
  }
  ASSERT_EQ(host_->RunInGuest("web1", "touch /tmp/end").exit_code, 0);
  ASSERT_TRUE(follower->ReadUntil("last")) << follower->err();
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  const std::string log = host_->Run({"logs", "web1", "con1"}).out;
  EXPECT_TRUE(follower->ReadUntil([&](const std::string& out) { return out.size() >= log.size(); }));
  EXPECT_TRUE(follower->out() == log) << follower->out().size() << " of " << log.size() << " bytes";
  EXPECT_FALSE(absl::StrContains(follower->err(), "missing")) << follower->err();
}

TEST_F(Readoption, APersonAtTheConsoleOnlyWaits) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  std::unique_ptr<Running> console = host_->RunBeside({"console", "web1"}, Running::On::kTerminal);
  ASSERT_TRUE(LogIn(*console, kPatience)) << console->out();
  host_->Kill9();
  EXPECT_TRUE(console->ReadUntil("waiting for it")) << console->out();
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(console->ReadUntil("umld is back")) << console->out();
  console->Write("echo st\"ill\" here\n");
  EXPECT_TRUE(console->ReadUntil("still here")) << console->out();
  console->Write("\x1d");
  EXPECT_EQ(console->Wait(), kOk) << console->out();
}

TEST_F(Readoption, FollowersGoOn) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  std::unique_ptr<Running> events = host_->RunBeside({"events", "-f", "-o", "json"});
  std::unique_ptr<Running> wait = host_->RunBeside({"wait", "web1", "--for", "stopped"});
  // It says nothing when it has begun to follow: a pause is made until one is seen.
  ASSERT_TRUE(WaitFor([&] {
    host_->Run({"resume", "web1"});
    EXPECT_TRUE(Ok(host_->Run({"pause", "web1"})));
    return events->ReadUntil("PAUSED", absl::Milliseconds(500));
  })) << events->out()
      << events->err();
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_TRUE(events->ReadUntil("STOPPED")) << events->out() << events->err();
  EXPECT_EQ(wait->Wait(), kOk) << wait->err();
}

TEST_F(Readoption, ASupervisorThatDoesNotAnswerIsUnreachableAndNotForgotten) {
  ASSERT_TRUE(host_->CreateAndStart("mute"));
  ASSERT_TRUE(host_->CreateAndStart("well"));
  const Json mute = host_->Describe("mute");
  const pid_t supervisor = mute["processes"]["supervisor_pid"];
  host_->Kill9();
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(host_->State("mute"), "UNREACHABLE");
  EXPECT_NE(host_->Describe("mute")["unreachable_reason"], "");
  EXPECT_EQ(host_->State("well"), "RUNNING");
  EXPECT_EQ(host_->RunInGuest("well", "echo well").out, "well\n");
  // Nothing is done to it, and it is not started a second time.
  EXPECT_TRUE(Refused(host_->Run({"start", "mute"}), kWrongState, {"mute"}));
  const CommandResult stopped = host_->Run({"stop", "mute"});
  EXPECT_NE(stopped.exit_code, 0);
  EXPECT_THAT(stopped.err, HasSubstr("mute"));
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  ASSERT_TRUE(host_->WaitForState("mute", "RUNNING"));
  EXPECT_EQ(Identities(host_->Describe("mute")), Identities(mute));
  EXPECT_EQ(host_->RunInGuest("mute", "echo speaks").out, "speaks\n");
}

// It is asked again over a new connection. The old one stays open at its end as long as it lives.
TEST_F(Readoption, OfASupervisorThatWasSilentOneConnectionIsKept) {
  ASSERT_TRUE(host_->CreateAndStart("mute"));
  const pid_t supervisor = host_->Describe("mute")["processes"]["supervisor_pid"];
  auto connections = [&] {
    int count = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(absl::StrCat("/proc/", supervisor, "/fd"), ignored)) {
      const std::string target = fs::read_symlink(entry.path(), ignored).string();
      if (target.rfind("socket:", 0) == 0) ++count;
    }
    return count;
  };
  const int before = connections();
  ASSERT_GT(before, 0);
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  EXPECT_THAT(host_->Run({"mconsole", "mute", "version"}).err, HasSubstr("did not answer"));
  EXPECT_EQ(host_->State("mute"), "UNREACHABLE");
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  ASSERT_TRUE(host_->WaitForState("mute", "RUNNING"));
  EXPECT_TRUE(Ok(host_->Run({"mconsole", "mute", "version"})));
  EXPECT_TRUE(WaitFor([&] { return connections() <= before; })) << before << " before, now " << connections();
}

TEST_F(Readoption, APlugUnderWayIsFinishedOrUndone) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "data.img", "--size", "4M"})));
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  int plugged_times = 0;
  for (int round = 0; round < 12; ++round) {
    const bool plugs = DiskOf(host_->Describe("web1"), "ubdb").is_null();
    std::unique_ptr<Running> change =
        plugs ? host_->RunBeside({"plug", "web1", "ubdb=data.img"}) : host_->RunBeside({"unplug", "web1", "ubdb"});
    // Among them some in which it is done before the kill, also where all is slow.
    absl::SleepFor(absl::Milliseconds(random() % (round < 8 ? 60 : 800)));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    const std::optional<int> exit_code = change->Wait();
    ASSERT_TRUE(exit_code.has_value()) << "umlctl does not come back";
    const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
    const bool in_guest = host_->RunInGuest("web1", "test -e /sys/block/ubdb").exit_code == 0;
    SCOPED_TRACE(absl::StrCat("round ", round, plugs ? ": plug" : ": unplug", ", umlctl's exit code ", *exit_code, "\n",
                              change->err()));
    // What the user was told, what is wanted, and what the kernel has: one.
    EXPECT_EQ(in_guest, !disk.is_null());
    if (!disk.is_null()) {
      EXPECT_EQ(disk["plugged"], true);
      EXPECT_EQ(disk["persistent"], true);
    }
    if (*exit_code == 0) {
      EXPECT_EQ(!disk.is_null(), plugs);
    }
    EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, disk.is_null() ? "\n" : host_->Work("data.img") + "\n");
    plugged_times += !disk.is_null();
    // No operation is under way for ever.
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out, "");
  }
  EXPECT_GT(plugged_times, 0) << "no plug was ever seen; the rounds are too short";
}

TEST_F(Readoption, APlugWhoseOutcomeNobodyKnowsIsSettledByTheFacts) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "unknown.img", "--size", "4M"})));
  const pid_t supervisor = host_->Describe("web1")["processes"]["supervisor_pid"];
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  std::unique_ptr<Running> plug = host_->RunBeside({"plug", "web1", "ubdb=unknown.img"});
  ASSERT_TRUE(WaitFor([&] { return host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out != ""; }));
  // The request has been sent, or will never be: the facts decide, and until they speak nobody pretends to know.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(plug->Wait(), kWrongState) << plug->out();
  EXPECT_THAT(plug->err(), HasSubstr("not known"));
  EXPECT_EQ(host_->State("web1"), "UNREACHABLE");
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
  const bool in_guest = host_->RunInGuest("web1", "test -e /sys/block/ubdb").exit_code == 0;
  EXPECT_TRUE(WaitFor([&] {
    const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
    return in_guest ? !disk.is_null() && disk["plugged"] == true && disk["persistent"] == true : disk.is_null();
  })) << host_->Describe("web1")["disks"];
}

TEST_F(Readoption, APlugThatTookTooLongIsTakenOver) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "late.img", "--size", "4M"})));
  const pid_t supervisor = host_->Describe("web1")["processes"]["supervisor_pid"];
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  const CommandResult plug = host_->Run({"plug", "web1", "ubdb=late.img"});
  EXPECT_NE(plug.exit_code, kOk) << plug;
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  // The same umld, which has given the plug up: vmcore's word counts.
  EXPECT_TRUE(WaitFor([&] {
    const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
    return !disk.is_null() && disk["plugged"] == true && disk["persistent"] == true;
  })) << host_->Describe("web1")["disks"];
  ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

}  // namespace
}  // namespace umld::tests
