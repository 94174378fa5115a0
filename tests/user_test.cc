// The same binaries for a user without any privilege, in the ways in which its guests can be held together.
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

constexpr char kUser[] = "umldtest";

// A user of the tests' own, made once and kept: removing it at the end would race with a second run of the tests.
HostOptions AsUser() {
  HostOptions options;
  if (geteuid() != 0) {
    options.default_folders = true;
    return options;
  }
  if (getpwnam(kUser) == nullptr) {
    RunToEnd({.argv = {"/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--shell",
                       "/usr/sbin/nologin", kUser},
              .environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
              .folder = "/",
              .log_file = ""});
  }
  const passwd* entry = getpwnam(kUser);
  if (entry == nullptr) {
    ADD_FAILURE() << "there is no user " << kUser << ", and useradd does not make one";
    return options;
  }
  options.uid = entry->pw_uid;
  options.gid = entry->pw_gid;
  options.default_folders = true;
  return options;
}

// The main job, whole, as this user.
void ExpectAGuestWorks(Host& host, const std::string& isolation) {
  ASSERT_TRUE(host.CreateAndStart("web1"));
  EXPECT_EQ(host.Describe("web1")["isolation"], isolation);
  EXPECT_EQ(host.RunInGuest("web1", "id -u").out, "0\n");
  ASSERT_TRUE(Ok(host.Run({"disk", "create", "swap", "--size", "64M"})));
  ASSERT_TRUE(Ok(host.Run({"plug", "web1", "ubdb=swap"})));
  EXPECT_EQ(host.RunInGuest("web1", "mkswap /dev/ubdb >/dev/null && swapon /dev/ubdb && grep -c ubdb /proc/swaps").out,
            "1\n");
  EXPECT_THAT(host.UmlMconsole({"web1", "config", "ubdb"}).out, HasSubstr("OK " + host.Work("swap")));
  host.Kill9();
  ASSERT_TRUE(host.Start());
  EXPECT_EQ(host.State("web1"), "RUNNING");
  EXPECT_TRUE(Ok(host.Run({"reboot", "web1"})));
  EXPECT_EQ(host.Describe("web1")["boots"], 2);
  EXPECT_TRUE(Ok(host.Run({"stop", "web1"})));
  EXPECT_EQ(host.State("web1"), "STOPPED");
}

// However a guest ends, all of it is gone.
void ExpectNothingOutlivesTheSupervisor(Host& host) {
  ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
  const Json guest = host.Describe("web1");
  const std::string folder = guest["processes"]["runtime_directory"];
  ASSERT_GE(ProcessesOf(folder).size(), 3u);  // vmcore, init, kernel, and what the kernel makes
  const std::string supervisor = std::to_string(guest["processes"]["supervisor_pid"].get<int>());
  ASSERT_TRUE(Ok(host.Shell("kill -9 " + supervisor)));
  EXPECT_TRUE(host.WaitForState("web1", "CRASHED"));
  EXPECT_TRUE(WaitFor([&] { return ProcessesOf(folder).empty(); })) << Describe(ProcessesOf(folder));
  EXPECT_TRUE(Ok(host.Run({"start", "web1"})));
  EXPECT_TRUE(Ok(host.Run({"kill", "web1"})));
  EXPECT_TRUE(WaitFor([&] { return ProcessesOf(folder).empty(); })) << Describe(ProcessesOf(folder));
}

TEST(User, WithAUserNamespace) {
  Host host(AsUser());
  ASSERT_TRUE(host.Start());
  ExpectAGuestWorks(host, "user namespace");
  ExpectNothingOutlivesTheSupervisor(host);
  host.Finish();
}

TEST(User, WithAProcessGroupWhereNamespacesAreNotAllowed) {
  HostOptions options = AsUser();
  options.umld_args = {"--isolation", "process-group"};
  Host host(options);
  ASSERT_TRUE(host.Start());
  ExpectAGuestWorks(host, "process group");
  ExpectNothingOutlivesTheSupervisor(host);
  host.Finish();
}

TEST(User, RootHasAPidNamespace) {
  if (geteuid() != 0) GTEST_SKIP() << "not root";
  Host host;
  ASSERT_TRUE(host.Start());
  ExpectAGuestWorks(host, "pid namespace");
  ExpectNothingOutlivesTheSupervisor(host);
  host.Finish();
}

}  // namespace
}  // namespace umld::tests
