// The same binaries as an ordinary user, with the folders that such a user gets, and with every way to hold a guest's
// processes together.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// Nobody's on any sane machine; whoever runs the tests without being root is an ordinary user already.
constexpr uid_t kUser = 61234, kOtherUser = 61235;

HostOptions UserOptions(std::vector<std::string> umld_args = {}) {
  HostOptions options;
  options.umld_args = std::move(umld_args);
  if (getuid() == 0) {
    options.uid = kUser;
    options.gid = kUser;
  }
  options.default_folders = true;
  return options;
}

std::string UidOf(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    std::string key, uid;
    std::istringstream fields(line);
    if (fields >> key >> uid && key == "Uid:") return uid;
  }
  return "";
}

// The main job in short, a kill of umld, and a kill of vmcore.
void RunTheWholeJob(Host& host, const std::string& isolation) {
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.CreateAndStart("web1"));
  const Json guest = host.Describe("web1");
  EXPECT_EQ(guest["isolation"], isolation);
  EXPECT_THAT(host.Run({"describe", "web1"}).out, HasSubstr(isolation));
  EXPECT_EQ(host.RunInGuest("web1", "hostname; id -u").out, "web1\n0\n");
  ASSERT_TRUE(Ok(host.Run({"disk", "create", "swap", "--size", "1G"})));
  ASSERT_TRUE(Ok(host.Run({"plug", "web1", "ubdb=swap"})));
  ASSERT_EQ(host.RunInGuest("web1", "mkswap /dev/ubdb && swapon /dev/ubdb").exit_code, 0);
  EXPECT_THAT(host.RunInGuest("web1", "cat /proc/swaps").out, HasSubstr("/dev/ubdb"));
  EXPECT_THAT(host.UmlMconsole({"web1", "version"}).out, StartsWith("OK Linux web1"));

  host.Kill9();
  ASSERT_TRUE(host.Start());
  EXPECT_EQ(host.Describe("web1")["processes"], guest["processes"]);
  EXPECT_EQ(host.State("web1"), "RUNNING");
  ASSERT_TRUE(Ok(host.Run({"reboot", "web1"})));
  EXPECT_EQ(host.Describe("web1")["boots"], 2);
  ASSERT_TRUE(Ok(host.Run({"stop", "web1"})));
  EXPECT_EQ(host.Describe("web1")["last_exit"]["stop_stage"], "orderly");
  const std::string folder = guest["processes"]["runtime_directory"];
  EXPECT_EQ(Describe(ProcessesOf(folder)), "");
  EXPECT_EQ(Describe(AdoptedProcesses()), "");

  // Whatever is killed, nothing of the guest stays: its stubs and helpers go too.
  for (const char* victim : {"kernel_pid", "init_pid", "supervisor_pid"}) {
    SCOPED_TRACE(victim);
    ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
    EXPECT_EQ(host.RunInGuest("web1", "(sleep 1000 & sleep 1000 &) ; echo busy").out, "busy\n");
    ASSERT_EQ(kill(host.Describe("web1")["processes"][victim].get<pid_t>(), SIGKILL), 0);
    ASSERT_TRUE(host.WaitForState("web1", "CRASHED"));
    EXPECT_TRUE(WaitFor([&] { return ProcessesOf(folder).empty() && AdoptedProcesses().empty(); }, absl::Seconds(5)))
        << Describe(ProcessesOf(folder)) << "\n"
        << Describe(AdoptedProcesses());
  }
  ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
  ASSERT_TRUE(Ok(host.Run({"kill", "web1"})));
  EXPECT_EQ(Describe(ProcessesOf(folder)), "");
}

bool UserNamespacesWork() {
  HostOptions options = UserOptions();
  Command command;
  command.argv = {"unshare", "--user", "--pid", "--fork", "true"};
  if (options.uid != 0) {
    command.argv.insert(command.argv.begin(), {"setpriv", absl::StrCat("--reuid=", options.uid),
                                               absl::StrCat("--regid=", options.gid), "--clear-groups", "--"});
  }
  command.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  return RunToEnd(command).exit_code == 0;
}

TEST(User, RunsGuestsInItsOwnFolders) {
  Host host(UserOptions());
  RunTheWholeJob(host, UserNamespacesWork() ? "user namespace" : "process group");
  const CommandResult info = host.Run({"host", "info"});
  EXPECT_THAT(info.out, AllOf(HasSubstr(host.home() + "/.local/state/umld"), HasSubstr(host.root() + "/xdg/umld"),
                              HasSubstr(host.home() + "/.uml")));
  ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
  const Json processes = host.Describe("web1")["processes"];
  const std::string uid = absl::StrCat(getuid() == 0 ? kUser : getuid());
  for (const char* which : {"kernel_pid", "init_pid", "supervisor_pid"})
    EXPECT_EQ(UidOf(processes[which]), uid) << which;
  EXPECT_EQ(UidOf(host.pid()), uid);
}

TEST(User, InAProcessGroup) {
  Host host(UserOptions({"--isolation", "process-group", "--confinement", "relaxed"}));
  RunTheWholeJob(host, "process group");
}

TEST(User, FilesAreItsOwnAndNobodyElseGetsIn) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to be two users";
  Host host(UserOptions());
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.CreateAndStart("web1"));
  for (const std::string& folder : {host.state_dir(), host.run_dir()}) {
    for (const std::string& file : FilesUnder(folder)) {
      struct stat info = {};
      if (lstat((folder + "/" + file).c_str(), &info) != 0) continue;
      EXPECT_EQ(info.st_uid, kUser) << file;
      // Images may be read by others where the folders above allow it; nothing may be written.
      EXPECT_EQ(info.st_mode & 0022, S_ISLNK(info.st_mode) ? info.st_mode & 0022 : 0u) << file;
    }
  }
  chmod((host.root() + "/xdg").c_str(), 0755);
  Command command = host.MakeCommand({host.Program("umlctl"), "list"});
  for (std::string& word : command.argv) {
    if (word == absl::StrCat("--reuid=", kUser)) word = absl::StrCat("--reuid=", kOtherUser);
    if (word == absl::StrCat("--regid=", kUser)) word = absl::StrCat("--regid=", kOtherUser);
  }
  EXPECT_TRUE(Refused(RunToEnd(command), kDenied, {host.socket(), "ermission denied"}));
  // A file that the user may not read is no disk of theirs.
  ASSERT_EQ(
      RunToEnd(
          {{"/bin/sh", "-c", "truncate -s 1M secret && chmod 600 secret"}, {"PATH=/usr/bin:/bin"}, host.root(), ""})
          .exit_code,
      0);
  EXPECT_TRUE(Refused(host.Run({"plug", "web1", "ubdb=" + host.root() + "/secret"}), kDenied, {"secret", "web1"}));
}

TEST(Root, InAPidNamespaceAndInAProcessGroup) {
  if (getuid() != 0) GTEST_SKIP() << "needs root";
  {
    Host host;
    RunTheWholeJob(host, "pid namespace");
  }
  HostOptions options;
  options.umld_args = {"--isolation", "process-group", "--confinement", "relaxed"};
  Host host(options);
  RunTheWholeJob(host, "process group");
}

}  // namespace
}  // namespace umld::tests
