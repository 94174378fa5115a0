// The main job, as a person would do it: an empty machine, an image, a guest, swap plugged while it runs and used from
// inside, a look at everything, a reboot, the end. One story: each test goes on where the one before it stopped.
#include <sys/stat.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class MainJob : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    host_ = new Host;
    ASSERT_TRUE(host_->Start());
  }
  static void TearDownTestSuite() {
    host_->Finish();
    delete host_;
    host_ = nullptr;
  }

  // Whether the guest's kernel swaps on its ubdb.
  static std::string Swaps() { return host_->RunInGuest("web1", "cat /proc/swaps").out; }

  static Host* host_;
};

Host* MainJob::host_ = nullptr;

TEST_F(MainJob, T01AnEmptyHostListsNothing) {
  const CommandResult guests = host_->Run({"list", "-o", "json"});
  EXPECT_TRUE(Ok(guests));
  EXPECT_EQ(Json::parse(guests.out), Json::array());
  EXPECT_EQ(Json::parse(host_->Run({"image", "list", "-o", "json"}).out), Json::array());
}

TEST_F(MainJob, T02TheTinyImageIsMade) {
  const CommandResult built = host_->Run({"image", "build", "tiny"});
  ASSERT_TRUE(Ok(built)) << host_->Log();
  EXPECT_THAT(built.out, HasSubstr("tiny"));
  const CommandResult list = host_->Run({"image", "list", "-o", "json"});
  const Json images = Json::parse(list.out);
  ASSERT_EQ(images.size(), 1u) << list;
  EXPECT_EQ(images[0]["name"], "images/tiny");
  EXPECT_EQ(images[0]["guests"], 0);
  // A few MiB on the host.
  EXPECT_LT(images[0]["allocated_bytes"].get<uint64_t>(), uint64_t{16} << 20);
  EXPECT_GT(images[0]["allocated_bytes"].get<uint64_t>(), uint64_t{500} << 10);
  const std::string path = images[0]["path"];
  EXPECT_TRUE(Ok(host_->Shell("e2fsck -fn " + path)));
}

TEST_F(MainJob, T03CreateDefinesAGuestAndStartsNothing) {
  const CommandResult created = host_->Run({"create", "web1", "--image", "tiny", "--mem", "64M"});
  ASSERT_TRUE(Ok(created)) << host_->Log();
  EXPECT_EQ(created.out, "web1\n");
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  EXPECT_EQ(ProcessesOf(host_->run_dir() + "/guests").size(), 0u);
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
}

TEST_F(MainJob, T04StartReturnsWhenItRuns) {
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"}))) << host_->Log();
  // Not waited for: that is what start is for.
  const Json guest = host_->Describe("web1");
  EXPECT_EQ(guest["state"], "RUNNING");
  EXPECT_EQ(guest["boots"], 1);
  EXPECT_EQ(guest["wanted_running"], true);
  EXPECT_THAT(guest["kernel_version"].get<std::string>(), ContainsRegex("^Linux .*[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(guest["memory_bytes"], uint64_t{64} << 20);
  EXPECT_EQ(guest["image"], "images/tiny");
  // The pid that is said is that of the kernel, with this guest's umid.
  bool is_the_kernel = false;
  for (const ProcessInfo& process : ProcessesOf(guest["processes"]["runtime_directory"])) {
    if (process.pid != guest["processes"]["kernel_pid"]) continue;
    is_the_kernel = absl::StrContains(process.command, "umid=web1 ") && !process.memory_file.empty();
  }
  EXPECT_TRUE(is_the_kernel) << Describe(ProcessesOf(guest["processes"]["runtime_directory"]));
}

TEST_F(MainJob, T05TheGuestIsARealOneWithItsName) {
  EXPECT_EQ(host_->RunInGuest("web1", "hostname").out, "web1\n");
  const GuestResult kernel = host_->RunInGuest("web1", "uname -sm; grep -c 'User Mode Linux' /proc/cpuinfo");
  EXPECT_THAT(kernel.out, ContainsRegex("^Linux x86_64\n"));
  EXPECT_THAT(kernel.out, Not(HasSubstr("\n0\n")));
  const GuestResult memory = host_->RunInGuest("web1", "free -k | awk '/^Mem/ {print ($2 > 50000), ($2 < 65537)}'");
  EXPECT_EQ(memory.out, "1 1\n");
}

TEST_F(MainJob, T06ListAndDescribeSayItInWords) {
  const CommandResult list = host_->Run({"list"});
  EXPECT_THAT(list.out, ContainsRegex("NAME +STATE +MEMORY"));
  EXPECT_THAT(list.out, ContainsRegex("web1 +RUNNING +64M"));
  const CommandResult wide = host_->Run({"list", "-o", "wide"});
  EXPECT_THAT(wide.out, HasSubstr(std::to_string(host_->Describe("web1")["processes"]["kernel_pid"].get<int>())));
  const CommandResult bare = host_->Run({"list", "--no-headers"});
  EXPECT_THAT(bare.out, Not(HasSubstr("NAME")));
  EXPECT_THAT(bare.out, HasSubstr("web1"));
  const CommandResult yaml = host_->Run({"list", "-o", "yaml"});
  EXPECT_THAT(yaml.out, ContainsRegex("name: guests/web1"));
  const CommandResult said = host_->Run({"describe", "web1"});
  ASSERT_TRUE(Ok(said));
  for (const char* text :
       {"web1", "RUNNING", "64 MiB", "tiny", "ubda", "con0", "kernel messages", "con1", "login", "namespace"}) {
    EXPECT_THAT(said.out, HasSubstr(text));
  }
}

TEST_F(MainJob, T07ADiskFileIsSparse) {
  const CommandResult made = host_->Run({"disk", "create", "swap", "--size", "1G"});
  ASSERT_TRUE(Ok(made));
  EXPECT_EQ(made.out, host_->Work("swap") + "\n");
  EXPECT_THAT(host_->Shell("ls -s swap").out, ContainsRegex("^0 swap"));
  EXPECT_EQ(host_->Shell("stat -c %s swap").out, "1073741824\n");
}

TEST_F(MainJob, T08PlugsARelativePathWhileItRuns) {
  const CommandResult plugged = host_->Run({"plug", "web1", "ubdb=swap"});
  ASSERT_TRUE(Ok(plugged)) << host_->Log();
  EXPECT_THAT(plugged.out, HasSubstr(host_->Work("swap")));
  // UML's spelling, and nothing else on the line.
  EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, host_->Work("swap") + "\n");
  // What the kernel itself says agrees.
  EXPECT_THAT(host_->RunInGuest("web1", "cat /sys/block/ubdb/size").out, "2097152\n");
  const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
  EXPECT_EQ(disk["path"], host_->Work("swap"));
  EXPECT_EQ(disk["spec"], "ubdb=" + host_->Work("swap"));
  EXPECT_EQ(disk["plugged"], true);
  EXPECT_EQ(disk["persistent"], true);
  EXPECT_EQ(disk["managed"], false);
}

TEST_F(MainJob, T09TheGuestSwapsOnIt) {
  ASSERT_EQ(host_->RunInGuest("web1", "mkswap /dev/ubdb && swapon /dev/ubdb").exit_code, 0);
  EXPECT_THAT(Swaps(), ContainsRegex("/dev/ubdb +partition"));
}

TEST_F(MainJob, T10UnplugOfADiskInUseIsRefused) {
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubdb"}), kWrongState, {"web1", "ubdb", "swapoff"}));
  EXPECT_THAT(Swaps(), HasSubstr("/dev/ubdb"));
  EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, host_->Work("swap") + "\n");
  EXPECT_EQ(DiskOf(host_->Describe("web1"), "ubdb")["plugged"], true);
}

TEST_F(MainJob, T11UnplugsWhatIsNotInUse) {
  ASSERT_EQ(host_->RunInGuest("web1", "swapoff /dev/ubdb").exit_code, 0);
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_EQ(DiskOf(host_->Describe("web1"), "ubdb"), nullptr);
  EXPECT_NE(host_->RunInGuest("web1", "test -e /sys/block/ubdb").exit_code, 0);
  // Nothing there is an empty answer, as mconsole has it.
  EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, "\n");
  EXPECT_TRUE(Ok(host_->Shell("test -f swap"))) << "the user's file has been removed";
}

TEST_F(MainJob, T12APlugLastsOverARebootAndALiveOneDoesNot) {
  ASSERT_TRUE(Ok(host_->Run({"disk", "create", "scratch", "--size", "8M"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=swap"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdc=scratch", "--live-only"})));
  EXPECT_EQ(DiskOf(host_->Describe("web1"), "ubdc")["persistent"], false);
  const Json before = host_->Describe("web1");
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"}))) << host_->Log();
  const Json after = host_->Describe("web1");
  EXPECT_EQ(after["state"], "RUNNING");
  EXPECT_EQ(after["boots"], 2);
  EXPECT_NE(after["processes"]["kernel_pid"], before["processes"]["kernel_pid"]);
  EXPECT_EQ(DiskOf(after, "ubdc"), nullptr);
  EXPECT_EQ(DiskOf(after, "ubdb")["plugged"], true);
  EXPECT_THAT(host_->RunInGuest("web1", "ls /sys/block; swapon /dev/ubdb; cat /proc/swaps").out,
              testing::AllOf(ContainsRegex("/dev/ubdb +partition"), Not(HasSubstr("ubdc"))));
}

TEST_F(MainJob, T13StopLeavesNothingRunning) {
  const std::string folder = host_->Describe("web1")["processes"]["runtime_directory"];
  EXPECT_GE(ProcessesOf(folder).size(), 3u);
  const CommandResult stopped = host_->Run({"stop", "web1"});
  ASSERT_TRUE(Ok(stopped)) << host_->Log();
  // Done means that nothing of it is left: looked at once.
  EXPECT_EQ(Describe(ProcessesOf(folder)), "");
  const Json guest = host_->Describe("web1");
  EXPECT_EQ(guest["state"], "STOPPED");
  EXPECT_EQ(guest["wanted_running"], false);
  EXPECT_EQ(guest["last_exit"]["kind"], "STOPPED");
  EXPECT_EQ(guest["last_exit"]["stop_stage"], "orderly");
  EXPECT_FALSE(guest.contains("start_time")) << guest["start_time"];
}

TEST_F(MainJob, T14WhatTheGuestWroteIsThereNextTime) {
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  ASSERT_EQ(host_->RunInGuest("web1", "echo kept > /root/note").exit_code, 0);
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note").out, "kept\n");
}

TEST_F(MainJob, T15DeleteRemovesTheGuestAndNotTheUsersFiles) {
  EXPECT_TRUE(Refused(host_->Run({"delete", "web1"}), kWrongState, {"web1", "running", "stop"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web1"})));
  EXPECT_TRUE(host_->Names().empty());
  EXPECT_TRUE(Refused(host_->Run({"describe", "web1"}), kNotFound, {"web1"}));
  EXPECT_TRUE(Ok(host_->Shell("test -f swap -a -f scratch")));
  EXPECT_TRUE(FilesUnder(host_->state_dir() + "/guests").empty());
}

}  // namespace
}  // namespace umld::tests
