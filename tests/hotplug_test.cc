// Plugging under stress: often, at once, during I/O, into guests that are paused or do not answer.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

class Hotplug : public SharedHost {
 protected:
  void SetUp() override {
    SharedHost::SetUp();
    ASSERT_TRUE(host_->CreateAndStart("web1"));
    ASSERT_TRUE(Ok(host_->Shell("truncate -s 16M disk other")));
  }
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }

  static size_t Descriptors(pid_t pid) {
    size_t count = 0;
    DIR* folder = opendir(absl::StrCat("/proc/", pid, "/fd").c_str());
    if (folder == nullptr) return 0;
    while (readdir(folder) != nullptr) ++count;
    closedir(folder);
    return count;
  }
  static pid_t Pid(const char* which) { return host_->Describe("web1")["processes"][which]; }
};

TEST_F(Hotplug, TwoHundredTimesInARow) {
  // The kernel opens a disk's file when the guest does; vmcore and the kernel must keep nothing of one that is gone.
  ASSERT_EQ(host_->RunInGuest("web1", "true").exit_code, 0);
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  const size_t vmcore = Descriptors(Pid("supervisor_pid")), kernel = Descriptors(Pid("kernel_pid"));
  const std::string umlctl = host_->Program("umlctl");
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Ok(host_->Shell("uml_mconsole web1 config ubdb=disk && uml_mconsole web1 remove ubdb"))) << i;
    ASSERT_TRUE(Ok(host_->Shell(umlctl + " plug web1 ubdc=other && " + umlctl + " unplug web1 ubdc"))) << i;
  }
  EXPECT_EQ(Descriptors(Pid("supervisor_pid")), vmcore);
  // A few more at this moment are not one for each time.
  EXPECT_LE(Descriptors(Pid("kernel_pid")), kernel + 10);
  EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk"})));
  EXPECT_EQ(host_->RunInGuest("web1", "echo works >/dev/ubdb && head -c 5 /dev/ubdb && sync").out, "works");
}

TEST_F(Hotplug, TwoAtOnceOneWins) {
  for (int round = 0; round < 5; ++round) {
    std::unique_ptr<Running> first = host_->RunBeside({"plug", "web1", "ubdb=disk"});
    std::unique_ptr<Running> second = host_->RunBeside({"plug", "web1", "ubdb=other"});
    const int codes[] = {*first->Wait(), *second->Wait()};
    EXPECT_TRUE((codes[0] == 0 && codes[1] == kBusyOrExists) || (codes[0] == kBusyOrExists && codes[1] == 0))
        << codes[0] << " " << codes[1] << first->err() << second->err();
    const std::string winner = host_->Work(codes[0] == 0 ? "disk" : "other");
    EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, winner + "\n");
    EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  }
}

TEST_F(Hotplug, UnplugDuringInputAndOutput) {
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk"})));
  // Writes all the time, and has it open between two runs of dd as well.
  const std::string writer = "exec 3<>/dev/ubdb; while :; do dd if=/dev/zero of=/dev/ubdb bs=64k count=64; done";
  ASSERT_EQ(host_->RunInGuest("web1", "(" + writer + ") >/dev/null 2>&1 & echo $! >/tmp/writer").exit_code, 0);
  ASSERT_TRUE(WaitFor([] {
    const std::string written = host_->RunInGuest("web1", "awk '{ print $7 }' /sys/block/ubdb/stat").out;
    return written != "0\n" && !written.empty();
  }));
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubdb"}), kWrongState,
                        {"web1", "ubdb", "it is in use inside the guest"}));
  }
  ASSERT_EQ(host_->RunInGuest("web1", "kill $(cat /tmp/writer); sync").exit_code, 0);
  EXPECT_TRUE(WaitFor([] { return host_->Run({"unplug", "web1", "ubdb"}).exit_code == 0; }));
}

TEST_F(Hotplug, APausedGuestTakesNoChange) {
  // At any moment of its boot, and the guest is none the worse for what it refused.
  std::vector<std::string> specs = {"ubdb=disk", "con2=pts", "mem=-8M"};
  if (getuid() == 0) specs.push_back("eth0=tuntap");  // others make no taps
  for (const bool booted : {false, true}) {
    if (booted) {
      ASSERT_EQ(host_->RunInGuest("web1", "true").exit_code, 0);
    }
    ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
    for (const std::string& spec : specs) {
      EXPECT_TRUE(Refused(host_->Run({"plug", "web1", spec}), kWrongState, {"web1", "paused", "resume it first"}));
    }
    EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, "\n");
    // Where its terminal leads is not the kernel's business.
    EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "con1=port:9311"})));
    EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "con1=pts"})));
    EXPECT_EQ(host_->State("web1"), "PAUSED");
    ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  }
  for (const std::string& spec : specs) EXPECT_TRUE(Ok(host_->Run({"plug", "web1", spec})));
  EXPECT_EQ(host_->RunInGuest("web1", "test -b /dev/ubdb -a -c /dev/tty2 && echo there").out, "there\n");
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubdb"}), kWrongState, {"ubdb", "paused", "resume it first"}));
  ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

TEST_F(Hotplug, AGuestThatDoesNotAnswerHoldsNobodyElseUp) {
  ASSERT_TRUE(host_->CreateAndStart("web2"));
  // Its boot takes its time, and web1 does not stay silent for ever before it is given up.
  ASSERT_EQ(host_->RunInGuest("web2", "true").exit_code, 0);
  const pid_t kernel = Pid("kernel_pid");
  ASSERT_EQ(kill(kernel, SIGSTOP), 0);
  std::unique_ptr<Running> plug = host_->RunBeside({"plug", "web1", "ubdb=disk"});
  // Meanwhile everything else goes on, for other guests and for what is known of this one.
  EXPECT_TRUE(Ok(host_->Run({"plug", "web2", "ubdb=other"})));
  EXPECT_TRUE(Ok(host_->Run({"describe", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"list"})));
  EXPECT_EQ(host_->RunInGuest("web2", "echo alive").out, "alive\n");
  EXPECT_FALSE(plug->HasEnded());
  EXPECT_EQ(plug->Wait(), kTimedOut) << plug->err();
  EXPECT_THAT(plug->err(), HasSubstr("web1"));
  ASSERT_EQ(kill(kernel, SIGCONT), 0);
  // It answers again, and has the disk or has it not; either way it can be had.
  EXPECT_TRUE(WaitFor([] {
    const CommandResult again = host_->Run({"plug", "web1", "ubdb=disk"});
    return again.exit_code == 0 || again.exit_code == kBusyOrExists;
  }));
  EXPECT_EQ(host_->RunInGuest("web1", "test -b /dev/ubdb").exit_code, 0);
  // Signals reach one that answers no mconsole.
  ASSERT_EQ(kill(kernel, SIGSTOP), 0);
  EXPECT_TRUE(Ok(host_->Run({"kill", "web1"})));
}

}  // namespace
}  // namespace umld::tests
