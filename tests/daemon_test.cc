// umld itself when something is wrong with where it is started: it says so, ends, and leaves what it found as it was.
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Runs umld as the host would, with more options, expecting that it ends by itself.
CommandResult RunUmld(const Host& host, const std::vector<std::string>& more = {}) {
  Command command = host.UmldCommand();
  command.argv.insert(command.argv.end(), more.begin(), more.end());
  return RunToEnd(command, "", absl::Seconds(30));
}

// The same, elsewhere than the host's own umld.
CommandResult RunUmldIn(const Host& host, const std::string& state_dir, const std::vector<std::string>& more = {}) {
  std::vector<std::string> argv = {host.Program("umld"), "--state-dir", state_dir, "--run-dir", host.Work("other-run")};
  argv.insert(argv.end(), more.begin(), more.end());
  return RunToEnd(host.MakeCommand(argv), "", absl::Seconds(30));
}

// It did not start, and says why as umlctl does.
testing::AssertionResult DidNotStart(const CommandResult& result, const std::vector<std::string>& texts) {
  if (result.exit_code != 1 && result.exit_code != 2) {
    return testing::AssertionFailure() << "umld did not end with an error: " << result;
  }
  CommandResult same = result;
  same.exit_code = kUsage;
  return Refused(same, kUsage, texts);
}

// Of `umlctl host check`; null: it says nothing of that name.
Json CheckOf(const Host& host, const std::string& name) {
  const CommandResult result = host.Run({"host", "check", "-o", "json"});
  const Json checks = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (!checks.is_array()) {
    ADD_FAILURE() << result;
    return nullptr;
  }
  for (const Json& check : checks) {
    if (check["name"] == name) return check;
  }
  return nullptr;
}

TEST(Umld, ASecondOneOnTheSameStateDirectory) {
  Host host;
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.CreateAndStart("web1"));
  const Json before = host.Describe("web1");
  EXPECT_TRUE(DidNotStart(RunUmld(host), {host.state_dir(), absl::StrCat("pid ", host.pid()), "--state-dir"}));
  // The first one serves as before: its socket, its guests, its bridge.
  EXPECT_EQ(host.Describe("web1"), before);
  EXPECT_THAT(host.UmlMconsole({"web1", "version"}).out, HasSubstr("OK Linux"));
}

TEST(Umld, ASocketInUse) {
  Host host;
  ASSERT_TRUE(host.Start());
  EXPECT_TRUE(DidNotStart(RunUmldIn(host, host.Work("other"), {"--listen", "unix:" + host.socket()}),
                          {host.socket(), "--listen"}));
  EXPECT_TRUE(Ok(host.Run({"list"})));
  ASSERT_TRUE(Ok(host.Shell("echo precious > file")));
  EXPECT_TRUE(DidNotStart(RunUmldIn(host, host.Work("other"), {"--listen", "unix:" + host.Work("file")}),
                          {host.Work("file"), "not a socket"}));
  EXPECT_EQ(host.Shell("cat file").out, "precious\n");
  const std::string long_path = host.Work(std::string(120, 'x'));
  EXPECT_TRUE(DidNotStart(RunUmldIn(host, host.Work("other"), {"--listen", "unix:" + long_path}), {"longer"}));
}

TEST(Umld, NotRunningAndWhatToStart) {
  Host host;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"list"}, {"start", "web1"}, {"console", "web1"}, {"events", "-f"}, {"host", "info"}}) {
    EXPECT_TRUE(Refused(host.Run(words), kUnreachable, {host.socket(), "no such socket", "umld &"})) << words[0];
  }
  ASSERT_TRUE(host.Start());
  host.Kill9();
  // Its socket's file is still there.
  EXPECT_TRUE(Refused(host.Run({"list"}), kUnreachable, {host.socket(), "refused", "umld &"}));
  ASSERT_TRUE(host.Start());
  EXPECT_TRUE(Ok(host.Run({"list"})));
}

// Whoever connects without end gets his turn, and so do guests and their supervisors.
TEST(Umld, AStormOfConnectionsHoldsNothingUp) {
  Host host;
  ASSERT_TRUE(host.Start());
  const pid_t storm = fork();
  if (storm == 0) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    host.socket().copy(address.sun_path, sizeof(address.sun_path) - 1);
    while (true) {
      const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      (void)!connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
      close(fd);
    }
  }
  EXPECT_TRUE(host.CreateAndStart("web1"));
  EXPECT_EQ(host.RunInGuest("web1", "echo well").out, "well\n");
  EXPECT_TRUE(Ok(host.Run({"stop", "web1"})));
  kill(storm, SIGKILL);
  EXPECT_EQ(waitpid(storm, nullptr, 0), storm);
}

TEST(Umld, OptionsThatAreWrong) {
  Host host;
  EXPECT_EQ(RunUmld(host, {"--frobnicate"}).exit_code, 2);
  EXPECT_TRUE(DidNotStart(RunUmld(host, {"--isolation", "chroot"}), {"chroot"}));
  EXPECT_TRUE(DidNotStart(RunUmld(host, {"--group", "no-such-group"}), {"no-such-group", "addgroup"}));
  EXPECT_EQ(RunUmld(host, {"--version"}).exit_code, 0);
  EXPECT_THAT(RunUmld(host, {"--help"}).out, AllOf(HasSubstr("--state-dir"), HasSubstr("--listen")));
}

TEST(Umld, ADatabaseFromTheFuture) {
  Host host;
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.Create("web1"));
  host.Stop();
  const std::string database = host.state_dir() + "/umld.db";
  const std::string version = host.Shell("sqlite3 " + database + " 'PRAGMA user_version'").out;
  ASSERT_TRUE(Ok(host.Shell("sqlite3 " + database + " 'PRAGMA user_version = 9999'")));
  const std::string sum = host.Shell("md5sum " + database).out;
  EXPECT_TRUE(DidNotStart(RunUmld(host), {database, "9999"}));
  EXPECT_EQ(host.Shell("md5sum " + database).out, sum) << "it was written to";
  ASSERT_TRUE(Ok(host.Shell("sqlite3 " + database + " 'PRAGMA user_version = " + version + "'")));
  ASSERT_TRUE(host.Start());
  EXPECT_THAT(host.Names(), ElementsAre("web1"));
}

TEST(Umld, ADatabaseThatIsBroken) {
  Host host;
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.Create("web1"));
  host.Stop();
  const std::string database = host.state_dir() + "/umld.db";
  ASSERT_TRUE(Ok(host.Shell("sqlite3 " + database + " 'PRAGMA wal_checkpoint(TRUNCATE)'; rm -f " + database + "-*")));
  ASSERT_TRUE(Ok(host.Shell("cp " + database + " good && test $(stat -c %s good) -gt 20000")));
  for (const std::string& damage :
       {std::string("printf 'not a database at all, but long enough' > "), std::string("head -c 5000 good > "),
        std::string("(head -c 4096 good; head -c $(($(stat -c %s good) - 4096)) /dev/urandom) > ")}) {
    SCOPED_TRACE(damage);
    ASSERT_TRUE(Ok(host.Shell(damage + database)));
    const std::string sum = host.Shell("md5sum " + database).out;
    EXPECT_TRUE(DidNotStart(RunUmld(host), {database}));
    EXPECT_EQ(host.Shell("md5sum " + database).out, sum) << "it was written to";
  }
  ASSERT_TRUE(Ok(host.Shell("cp good " + database)));
  ASSERT_TRUE(host.Start());
  EXPECT_THAT(host.Names(), ElementsAre("web1"));
}

TEST(Umld, AStateDirectoryThatIsReadOnly) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to mount";
  Host host;
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.Create("web1"));
  host.Stop();
  const std::string folder = host.state_dir();
  ASSERT_TRUE(Ok(host.Shell("mount --bind " + folder + " " + folder + " && mount -o remount,bind,ro " + folder)));
  EXPECT_TRUE(DidNotStart(RunUmld(host), {folder, "ead-only"}));
  ASSERT_TRUE(Ok(host.Shell("umount " + folder)));
  ASSERT_TRUE(host.Start());
  EXPECT_THAT(host.Names(), ElementsAre("web1"));
}

TEST(Umld, AStateDirectoryThatIsFull) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to mount";
  HostOptions options;
  // While the filler grows, whoever watches the disk would pause web1: that is disk_full_test's.
  options.umld_args = {"--disk-reserve", "0"};
  Host host(options);
  const std::string folder = host.state_dir();
  ASSERT_TRUE(Ok(host.Shell("mount -t tmpfs -o size=24m,mode=0700 none " + folder)));
  // There is not enough to set aside for the database when umld starts: with that it goes on, see disk_full_test.
  ASSERT_TRUE(Ok(host.Shell("fallocate -l 21M " + folder + "/early")));
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(Ok(host.Shell("rm " + folder + "/early")));
  ASSERT_TRUE(host.CreateAndStart("web1"));
  ASSERT_TRUE(host.Create("web2"));
  ASSERT_TRUE(Ok(host.Shell("truncate -s 4M free.img")));
  // All of it is up, and what it has written is on the disk.
  ASSERT_EQ(host.RunInGuest("web1", "echo kept > /root/note; sync").exit_code, 0);
  host.Shell("dd if=/dev/zero of=" + folder + "/filler bs=4k");
  const Json before = host.Describe("web1");

  // Reading goes on; what must be written down is refused, and not done.
  EXPECT_THAT(host.Names(), ElementsAre("web1", "web2"));
  EXPECT_EQ(host.State("web1"), "RUNNING");
  // A few changes may still fit into what the database has already taken; then comes the wall.
  bool refused = false;
  for (int i = 0; i < 2000 && !refused; ++i) {
    const CommandResult set =
        host.Run({"set", "web2", "--description", std::string(4000, static_cast<char>('a' + i % 26))});
    if (set.exit_code == 0) continue;
    refused = true;
    EXPECT_TRUE(Refused(set, kBusyOrExists, {"web2", "no space left"}));
  }
  EXPECT_TRUE(refused);
  EXPECT_TRUE(Refused(host.Run({"image", "build", "tiny", "--name", "second"}), kBusyOrExists, {"no space left"}));
  const CommandResult created = host.Run({"create", "web3", "--image", "tiny"});
  const CommandResult plugged = host.Run({"plug", "web1", "ubdb=free.img"});
  for (const auto& [result, name] : {std::pair(created, "web3"), std::pair(plugged, "web1")}) {
    if (result.exit_code != 0) {
      EXPECT_TRUE(Refused(result, kBusyOrExists, {name, "no space left"}));
    }
  }
  EXPECT_EQ(host.Names().size(), created.exit_code == 0 ? 3u : 2u);
  EXPECT_EQ(!DiskOf(host.Describe("web1"), "ubdb").is_null(), plugged.exit_code == 0);
  EXPECT_EQ(host.Run({"config", "web1", "ubdb"}).out == "\n", plugged.exit_code != 0);

  // Even a kill now loses nothing, and once there is space all goes on.
  host.Kill9();
  ASSERT_TRUE(Ok(host.Shell("rm " + folder + "/filler")));
  ASSERT_TRUE(host.Start());
  EXPECT_EQ(host.State("web1"), "RUNNING");
  EXPECT_EQ(host.Describe("web1")["processes"], before["processes"]);
  EXPECT_EQ(host.RunInGuest("web1", "cat /root/note").out, "kept\n");
  EXPECT_TRUE(Ok(host.Run({"start", "web2"})));
  EXPECT_TRUE(Ok(host.Run({"stop", "--now", "web1"})));
  EXPECT_TRUE(Ok(host.Run({"delete", "--all", "--force"})));
  host.Stop();
  EXPECT_TRUE(Ok(host.Shell("umount " + folder)));
}

TEST(Umld, AFileInPlaceOfTheStateDirectory) {
  Host host;
  ASSERT_TRUE(Ok(host.Shell("echo precious > file")));
  EXPECT_TRUE(DidNotStart(RunUmldIn(host, host.Work("file")), {host.Work("file")}));
  EXPECT_TRUE(DidNotStart(RunUmldIn(host, host.Work("file/below")), {host.Work("file")}));
  EXPECT_EQ(host.Shell("cat file").out, "precious\n");
}

TEST(Umld, WithoutASupervisorProgram) {
  HostOptions options;
  options.umld_args = {"--vmcore", "/nonexistent/vmcore"};
  Host host(options);
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.Create("web1"));
  EXPECT_TRUE(Refused(host.Run({"start", "web1"}), kNotFound, {"web1", "/nonexistent/vmcore"}));
  EXPECT_EQ(host.State("web1"), "STOPPED");
}

TEST(Umld, SaysWhatTheHostOffers) {
  Host host;
  ASSERT_TRUE(host.Start());
  const CommandResult info = host.Run({"host", "info"});
  EXPECT_THAT(info.out, AllOf(HasSubstr(host.socket()), HasSubstr(host.state_dir()), HasSubstr(host.run_dir()),
                              HasSubstr(host.mconsole_dir()), HasSubstr("/usr/bin/linux.uml")));
  const CommandResult check = host.Run({"host", "check"});
  EXPECT_THAT(check.exit_code, AnyOf(kOk, kSaidNo));
  EXPECT_THAT(check.out, HasSubstr("/usr/bin/linux.uml"));
  EXPECT_THAT(host.Run({"version"}).out, HasSubstr("umld"));
  const Json confinement = CheckOf(host, "confinement");
  ASSERT_TRUE(confinement.is_object()) << check;
  EXPECT_EQ(confinement["ok"], true) << confinement;
  EXPECT_THAT(confinement["detail"].get<std::string>(),
              HasSubstr(getuid() == 0 ? "with uids of their own" : "in a user namespace"));
  const Json limits = CheckOf(host, "limits");
  ASSERT_TRUE(limits.is_object()) << check;
  // An ordinary user has control groups only if somebody lends him some.
  if (getuid() == 0) {
    EXPECT_EQ(limits["ok"], true) << limits;
  }
}

// A vmcore in a user namespace that may have no namespaces stands for a host that gives none.
TEST(Umld, WhereNoGuestCanBeConfinedNoneStarts) {
  std::string folder = "/tmp/daemon_test.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  chmod(folder.c_str(), 0755);
  const std::string vmcore = folder + "/vmcore";
  std::ofstream(vmcore) << "#!/bin/sh\n"
                        << "exec unshare -Ur /bin/sh -c 'for kind in cgroup ipc mnt net pid user uts; do "
                        << "echo 0 >/proc/sys/user/max_${kind}_namespaces; done; exec \"$0\" \"$@\"' "
                        << fs::absolute("vmcore/vmcore").string() << " \"$@\"\n";
  chmod(vmcore.c_str(), 0755);
  {
    HostOptions options;
    options.umld_args = {"--vmcore", vmcore};
    Host host(options);
    ASSERT_TRUE(host.Start());
    const Json check = CheckOf(host, "confinement");
    ASSERT_TRUE(check.is_object());
    EXPECT_EQ(check["ok"], false) << check;
    EXPECT_THAT(check["detail"].get<std::string>(),
                HasSubstr(getuid() == 0 ? "no namespaces of its own" : "no user namespace"));
    EXPECT_THAT(check["remedy"].get<std::string>(),
                AllOf(HasSubstr("user.max_"), HasSubstr("--confinement relaxed --trust trusted")));
    const char* const refused = "this host does not let a guest be confined";
    ASSERT_TRUE(host.Create("web1"));
    EXPECT_TRUE(Refused(host.Run({"start", "web1"}), kSaidNo, {"web1", refused}));
    const Json guest = host.Describe("web1");
    EXPECT_EQ(guest["state"], "CRASHED");
    EXPECT_THAT(guest["last_exit"]["reason"].get<std::string>(), HasSubstr(refused));
    EXPECT_EQ(guest["last_exit"].value("last_lines", Json::array()), Json::array()) << "a kernel has run";
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace umld::tests
