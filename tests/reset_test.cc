// A guest that was broken is new again, and nothing but its root disk is touched.
#include <signal.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

class Reset : public SharedHost {};

TEST_F(Reset, OfARunningGuestGivesItsImageBack) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json before = host_->Describe("web1");
  EXPECT_EQ(host_->RunInGuest("web1", "rm -rf /etc/inittab /bin; sync; echo broken").out, "broken\n");
  ASSERT_TRUE(Ok(host_->Run({"reset", "web1"})));
  const Json after = host_->Describe("web1");
  EXPECT_EQ(after["state"], "RUNNING");
  EXPECT_EQ(after["id"], before["id"]);
  EXPECT_EQ(after["disks"][0]["path"], before["disks"][0]["path"]);
  EXPECT_NE(after["processes"]["supervisor_pid"], before["processes"]["supervisor_pid"]);
  EXPECT_EQ(host_->RunInGuest("web1", "ls /etc/inittab").out, "/etc/inittab\n");
  bool event = false;
  for (const Json& one : host_->Events("web1")) event = event || one["type"] == "guest.reset";
  EXPECT_TRUE(event);

  // Not one that would lose what is on another disk; stopped, it can be reset, and stays stopped.
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "data", "--size", "1M"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=data"})));
  EXPECT_TRUE(Refused(host_->Run({"reset", "web1"}), kWrongState, {"web1", "ubdb", host_->Work("data")}));
  EXPECT_EQ(
      host_->RunInGuest("web1", "echo kept | dd of=/dev/ubdb conv=fsync 2>/dev/null; touch /gone; sync; echo ok").out,
      "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"reset", "web1"})));
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "ls /gone; head -c 4 /dev/ubdb").out,
            "ls: /gone: No such file or directory\nkept");
}

TEST_F(Reset, OfAGuestThatWasNeverStarted) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Run({"reset", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "ls /etc/inittab").out, "/etc/inittab\n");
}

TEST_F(Reset, NeedsAnImage) {
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "plain", "--size", "1M"})));
  ASSERT_TRUE(Ok(host_->Run({"create", "web2", "--disk", "ubda=plain"})));
  EXPECT_TRUE(Refused(host_->Run({"reset", "web2"}), kWrongState, {"web2", "image"}));
  EXPECT_TRUE(Refused(host_->Run({"reset", "nobody"}), kNotFound, {"nobody"}));
}

// Whenever umld is killed: the guest ends up running, with the old disk or the new one, and nothing is left over.
TEST_F(Reset, SurvivesAKillOfUmld) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string folder = host_->state_dir() + "/guests/" + std::to_string(host_->Describe("web1")["id"].get<int>());
  for (int delay_ms : {0, 15, 40, 120}) {
    SCOPED_TRACE(delay_ms);
    EXPECT_EQ(host_->RunInGuest("web1", "touch /marked; sync; echo ok").out, "ok\n");
    std::unique_ptr<Running> reset = host_->RunBeside({"reset", "web1"});
    absl::SleepFor(absl::Milliseconds(25 + delay_ms));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    reset->Wait(absl::Seconds(60));
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    const std::string marked = host_->RunInGuest("web1", "ls /marked 2>/dev/null; echo looked").out;
    EXPECT_THAT(marked, testing::AnyOf("looked\n", "/marked\nlooked\n"));
    EXPECT_EQ(host_->Shell("ls " + folder + " | grep -c new").out, "0\n");
  }
}

}  // namespace
}  // namespace umld::tests
