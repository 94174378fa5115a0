// Guests that end badly: whatever kills them, the user reads why, nothing stray is left, and they can be started again.
#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Crash : public SharedHost {
 protected:
  // Starts a guest whose kernel ends soon, perhaps before it is up.
  static void StartToCrash(const std::string& name) {
    const CommandResult started = host_->Run({"start", name});
    // Which comes first, its mconsole's answer or its end, is a matter of microseconds.
    if (started.exit_code != 0) {
      EXPECT_TRUE(Refused(started, kSaidNo, {name, "ended before it was running", "umlctl"}));
    }
    host_->WaitForState(name, "CRASHED");
  }

  // What must hold of every crashed guest.
  static void ExpectCrashed(const std::string& name, const std::string& reason) {
    ASSERT_TRUE(host_->WaitForState(name, "CRASHED"));
    const Json guest = host_->Describe(name);
    EXPECT_EQ(guest["last_exit"]["kind"], "CRASHED");
    EXPECT_THAT(guest["last_exit"]["reason"].get<std::string>(), HasSubstr(reason));
    EXPECT_EQ(guest["wanted_running"], false);
    EXPECT_EQ(guest["operation"], "");
    EXPECT_FALSE(guest.contains("processes") && guest["processes"]["kernel_pid"] != 0) << guest["processes"];
    const CommandResult said = host_->Run({"describe", name});
    EXPECT_THAT(said.out, AllOf(HasSubstr("CRASHED"), HasSubstr(reason)));
    std::string event;
    for (const Json& candidate : host_->Events(name)) {
      if (candidate["type"] == "guest.crashed") event = candidate["message"];
    }
    EXPECT_THAT(event, HasSubstr(reason));
    // No process of it, wherever its parent is now.
    EXPECT_EQ(Describe(ProcessesOf(absl::StrCat(host_->run_dir(), "/guests/", guest["id"].get<int>()))), "");
    EXPECT_EQ(Describe(AdoptedProcesses()), "");
  }

  static void ExpectStartsAgain(const std::string& name) {
    EXPECT_TRUE(Ok(host_->Run({"start", name})));
    EXPECT_EQ(host_->State(name), "RUNNING");
    EXPECT_EQ(host_->RunInGuest(name, "echo well").out, "well\n");
  }

  static pid_t Pid(const std::string& name, const char* which) { return host_->Describe(name)["processes"][which]; }
};

TEST_F(Crash, WithoutARootThePanicIsToldInWords) {
  ASSERT_TRUE(Ok(host_->Run({"create", "bare", "--mem", "64M"})));
  StartToCrash("bare");
  ExpectCrashed("bare", "Kernel panic - not syncing: VFS: Unable to mount root fs");
  const Json exit = host_->Describe("bare")["last_exit"];
  EXPECT_EQ(exit["last_lines"].size(), 20u);
  // The same to read in describe, and the whole of it in the log.
  EXPECT_THAT(host_->Run({"describe", "bare"}).out, HasSubstr("Unable to mount root fs on unknown-block"));
  EXPECT_THAT(host_->Run({"logs", "bare"}).out,
              AllOf(HasSubstr("Linux version"), HasSubstr("Kernel panic - not syncing")));
}

TEST_F(Crash, AnInitThatIsNotThere) {
  ASSERT_TRUE(host_->Create("web1", {"--arg", "init=/nope"}));
  StartToCrash("web1");
  ExpectCrashed("web1", "Kernel panic - not syncing: Requested init /nope failed");
  // Repaired, it starts.
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--no-args"})));
  ExpectStartsAgain("web1");
}

TEST_F(Crash, APanicWhileItRuns) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "(sleep 1; echo c > /proc/sysrq-trigger) & :").exit_code, 0);
  ExpectCrashed("web1", "Kernel panic - not syncing: sysrq triggered crash");
  ExpectStartsAgain("web1");
}

TEST_F(Crash, ItsInitEnds) {
  ASSERT_TRUE(host_->Create("web1", {"--arg", "init=/bin/true"}));
  StartToCrash("web1");
  ExpectCrashed("web1", "Kernel panic - not syncing: Attempted to kill init!");
}

// Debian's kernel takes too long to come up for that: a program of ours says what a faster one would say.
TEST_F(Crash, OneThatRebootsOverAndOverIsEnded) {
  ASSERT_TRUE(Ok(host_->Shell(
      absl::StrCat("cp ", fs::absolute("tests/malicious_kernel").string(), " kernel && chmod 755 kernel"))));
  ASSERT_TRUE(
      Ok(host_->Run({"create", "web1", "--mem", "64M", "--kernel", host_->Work("kernel"), "--arg", "attack.reboot"})));
  StartToCrash("web1");
  ExpectCrashed("web1", "reboots over and over");
  bool rebooted = false;
  for (const Json& event : host_->Events("web1")) rebooted = rebooted || event["type"] == "guest.rebooted";
  EXPECT_TRUE(rebooted) << "it was not let reboot at all";
}

TEST_F(Crash, KernelKilled) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "printf '\\033[2Jlast words\\n' > /dev/kmsg").exit_code, 0);
  ASSERT_EQ(kill(Pid("web1", "kernel_pid"), SIGKILL), 0);
  ExpectCrashed("web1", "SIGKILL");
  EXPECT_EQ(host_->Describe("web1")["last_exit"]["signal"], SIGKILL);
  // What the console showed last, but not so that a guest can write to the reader's screen.
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("last words"), Not(HasSubstr("\033"))));
  ExpectStartsAgain("web1");
}

TEST_F(Crash, KernelTerminatedByAStranger) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(kill(Pid("web1", "kernel_pid"), SIGTERM), 0);
  ExpectCrashed("web1", "code 1");
  ExpectStartsAgain("web1");
}

TEST_F(Crash, InitOfTheNamespaceKilled) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(kill(Pid("web1", "init_pid"), SIGKILL), 0);
  ExpectCrashed("web1", "SIGKILL");
  ExpectStartsAgain("web1");
}

TEST_F(Crash, SupervisorKilledTakesTheGuestWithIt) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->CreateAndStart("web2"));
  const Json other = host_->Describe("web2")["processes"];
  ASSERT_EQ(kill(Pid("web1", "supervisor_pid"), SIGKILL), 0);
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  const Json guest = host_->Describe("web1");
  const std::string folder = absl::StrCat(host_->run_dir(), "/guests/", guest["id"].get<int>());
  EXPECT_TRUE(WaitFor([&] { return ProcessesOf(folder).empty(); }, absl::Seconds(5))) << Describe(ProcessesOf(folder));
  EXPECT_THAT(guest["last_exit"]["reason"].get<std::string>(), HasSubstr("vmcore"));
  // Nobody else is touched.
  EXPECT_EQ(host_->State("web2"), "RUNNING");
  EXPECT_EQ(host_->Describe("web2")["processes"], other);
  // The COW file's lock is free: the same guest starts at once.
  ExpectStartsAgain("web1");
}

TEST_F(Crash, SupervisorKilledWhileItBoots) {
  ASSERT_TRUE(host_->Create("web1"));
  std::unique_ptr<Running> start = host_->RunBeside({"start", "web1"});
  ASSERT_TRUE(WaitFor([&] {
    const Json guest = host_->Describe("web1");
    return guest["state"] == "STARTING" && guest.contains("processes") && guest["processes"]["kernel_pid"] != 0;
  }));
  ASSERT_EQ(kill(Pid("web1", "supervisor_pid"), SIGKILL), 0);
  ASSERT_TRUE(start->Wait().has_value());
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_TRUE(WaitFor([&] { return AdoptedProcesses().empty() && ProcessesOf(host_->run_dir() + "/guests").empty(); },
                      absl::Seconds(5)));
  ExpectStartsAgain("web1");
}

TEST_F(Crash, WhatHappensWhileUmldIsDownIsToldAfterwards) {
  ASSERT_TRUE(host_->CreateAndStart("killed"));
  ASSERT_TRUE(host_->CreateAndStart("orphaned"));
  ASSERT_TRUE(host_->CreateAndStart("off"));
  EXPECT_EQ(host_->RunInGuest("off", "(sleep 3; poweroff) & :").exit_code, 0);
  const pid_t kernel = Pid("killed", "kernel_pid"), supervisor = Pid("orphaned", "supervisor_pid");
  host_->Kill9();
  ASSERT_EQ(kill(kernel, SIGKILL), 0);
  ASSERT_EQ(kill(supervisor, SIGKILL), 0);
  ASSERT_TRUE(WaitFor([&] { return ProcessesOf(host_->run_dir() + "/guests").empty(); }))
      << Describe(ProcessesOf(host_->run_dir() + "/guests"));
  ASSERT_TRUE(host_->Start());
  ExpectCrashed("killed", "SIGKILL");
  ExpectCrashed("orphaned", "vmcore");
  EXPECT_EQ(host_->State("off"), "STOPPED");
  EXPECT_EQ(host_->Describe("off")["last_exit"]["kind"], "POWERED_OFF");
  ExpectStartsAgain("orphaned");
}

}  // namespace
}  // namespace umld::tests
