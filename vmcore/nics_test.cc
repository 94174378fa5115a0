#include "vmcore/nics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kEth0[] = "eth0=tuntap,tapn0,02:00:00:00:00:01,192.0.2.254/24";
constexpr char kEth0Kernel[] = "eth0=tuntap,tapn0,02:00:00:00:00:01";

// Interfaces against a kernel that behaves as UML's does unless the test says otherwise, in a network namespace of the
// test program's own.
class NicsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0) return;
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
  }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root makes taps";
    folder_ = "/tmp/nics_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    ASSERT_EQ(chdir(folder_.c_str()), 0);
    loop_ = *EventLoop::Create();
    mconsole_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_);
    kernel_ = std::make_unique<FakeMconsole>(
        loop_.get(), folder_ + "/mconsole",
        [this](const std::string& command, const FakeMconsole::Peer& from) { Answer(command, from); });
    nics_ = NewNics();
  }
  void TearDown() override {
    if (loop_ == nullptr) return;
    nics_->End();
    EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
    EXPECT_FALSE(fs::exists("taps"));
    nics_.reset();
    mconsole_.reset();
    kernel_.reset();
    ASSERT_EQ(chdir("/"), 0);
    fs::remove_all(folder_);
  }

  std::unique_ptr<Nics> NewNics() {
    return std::make_unique<Nics>(
        loop_.get(),
        [this] {
          ++changes_;
          loop_->Quit();
        },
        milliseconds(300));
  }

  void Answer(const std::string& command, const FakeMconsole::Peer& from) {
    seen_.push_back(command);
    if (auto forced = answers_.find(command); forced != answers_.end()) {
      if (forced->second.first == kSilence) return;
      kernel_->Reply(from, forced->second.second, forced->second.first);
      return;
    }
    const std::string device = command.substr(7, command.find_first_of("=:", 7) - 7);
    const bool probe = command == "config " + device + "=" || absl::EndsWith(command, ":not=a=value");
    if (absl::StartsWith(command, "remove ")) {
      kernel_->Reply(from, "", has_.erase(device) == 1 ? 0 : -ENODEV);
    } else if (has_.count(device) == 1) {
      kernel_->Reply(from, "Device already configured", -EINVAL);
    } else if (probe) {
      kernel_->Reply(from, "", 1);
    } else {
      if (makes_) has_[device] = true;
      kernel_->Reply(from, "");
    }
  }

  static v1::GuestConfig Config(const std::vector<std::string>& specs) {
    v1::GuestConfig config;
    for (const std::string& spec : specs) config.add_nics()->set_spec(spec);
    return config;
  }
  void Boot(const std::vector<std::string>& specs) {
    absl::Status status = nics_->PrepareBoot(Config(specs));
    ASSERT_TRUE(status.ok()) << status;
    nics_->KernelStarted(mconsole_.get());
  }
  absl::Status Wait(const std::function<void(Nics::Done)>& change) {
    std::optional<absl::Status> outcome;
    change([&](const absl::Status& status) {
      outcome = status;
      loop_->Quit();
    });
    while (!outcome.has_value()) loop_->Run();
    return *outcome;
  }
  absl::Status Plug(const std::string& spec) {
    return Wait([&](Nics::Done done) { nics_->Plug(*devices::ParseNicSpec(spec), std::move(done)); });
  }
  absl::Status Unplug(const std::string& name) {
    return Wait([&](Nics::Done done) { nics_->Unplug(*devices::ParseNicName(name), std::move(done)); });
  }
  std::vector<std::string> Live() const {
    v1::Facts facts;
    nics_->AddFacts(&facts);
    std::vector<std::string> specs;
    for (const v1::Nic& nic : facts.live_nics()) specs.push_back(nic.spec());
    return specs;
  }
  static std::string Reason(const absl::Status& status) { return GetErrorDetail(status).reason; }

  static constexpr int kSilence = 9999;
  std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::unique_ptr<Nics> nics_;
  std::vector<std::string> seen_;
  std::map<std::string, std::pair<int, std::string>> answers_;
  std::map<std::string, bool> has_;
  bool makes_ = true;  // what it is configured with
  int changes_ = 0;
};

TEST_F(NicsTest, IsPluggedWithoutWhatIsOursAndUnplugged) {
  Boot({});
  ASSERT_TRUE(Plug(kEth0).ok());
  EXPECT_THAT(seen_, ElementsAre(absl::StrCat("config ", kEth0Kernel), "config eth0="));
  EXPECT_THAT(Live(), ElementsAre(kEth0));
  EXPECT_NE(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_TRUE(fs::exists("taps"));
  EXPECT_EQ(Reason(Plug("eth0=mcast,02:00:00:00:00:02")), "NIC_EXISTS");
  EXPECT_EQ(Reason(Plug("eth1=tuntap,tapn0,02:00:00:00:00:02")), "TAP_BUSY");
  ASSERT_TRUE(Unplug("eth0").ok());
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_THAT(Live(), IsEmpty());
  EXPECT_EQ(Reason(Unplug("eth0")), "DEVICE_NOT_PLUGGED");
}

TEST_F(NicsTest, AFailedPlugLeavesNothing) {
  Boot({});
  answers_[absl::StrCat("config ", kEth0Kernel)] = {1, ""};
  absl::Status refused = Plug(kEth0);
  EXPECT_EQ(Reason(refused), "KERNEL_REFUSED");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("no transport tuntap"));
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_THAT(Live(), IsEmpty());
  // Yes, said, and nothing done.
  answers_.clear();
  makes_ = false;
  refused = Plug(kEth0);
  EXPECT_EQ(Reason(refused), "KERNEL_REFUSED");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("has made no eth0"));
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
}

TEST_F(NicsTest, AnUnansweredChangeIsLearnt) {
  Boot({});
  answers_[absl::StrCat("config ", kEth0Kernel)] = {kSilence, ""};
  EXPECT_EQ(Plug(kEth0).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  has_["eth1"] = true;
  answers_["config eth1=mcast,02:00:00:00:00:02"] = {kSilence, ""};
  EXPECT_TRUE(Plug("eth1=mcast,02:00:00:00:00:02").ok());
  answers_["remove eth1"] = {kSilence, ""};
  EXPECT_EQ(Unplug("eth1").code(), absl::StatusCode::kDeadlineExceeded);
  has_.clear();
  EXPECT_TRUE(Unplug("eth1").ok());
}

TEST_F(NicsTest, OneThatIsUpStays) {
  Boot({});
  ASSERT_TRUE(Plug("vec0:transport=tap,ifname=tapn0,mac=02:00:00:00:00:01").ok());
  EXPECT_THAT(seen_,
              ElementsAre("config vec0:transport=tap,ifname=tapn0,mac=02:00:00:00:00:01", "config vec0:not=a=value"));
  answers_["remove vec0"] = {-EBUSY, ""};
  absl::Status busy = Unplug("vec0");
  EXPECT_EQ(Reason(busy), "DEVICE_BUSY");
  EXPECT_THAT(GetErrorDetail(busy).hint, HasSubstr("ip link set vec0 down"));
  EXPECT_NE(devices::InterfaceIndex("tapn0"), 0);
}

TEST_F(NicsTest, TapsStayOverReboots) {
  Boot({kEth0});
  const int index = devices::InterfaceIndex("tapn0");
  ASSERT_NE(index, 0);
  EXPECT_THAT(seen_, IsEmpty());
  nics_->KernelGone("rebooted");
  Boot({kEth0, "eth1=mcast,02:00:00:00:00:02"});
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), index);
  nics_->KernelGone("rebooted");
  Boot({});
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
}

TEST_F(NicsTest, ABootedInterfaceIsProved) {
  Boot({kEth0, "eth1=mcast,02:00:00:00:00:02"});
  has_["eth1"] = true;
  EXPECT_TRUE(nics_->unproven());
  EXPECT_THAT(seen_, IsEmpty()) << "asked before it can have them";
  nics_->KernelBooted();
  EXPECT_FALSE(nics_->unproven());
  loop_->Run();  // until it has changed
  EXPECT_EQ(changes_, 1);
  EXPECT_THAT(Live(), ElementsAre("eth1=mcast,02:00:00:00:00:02"));
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
}

TEST_F(NicsTest, ASwitchMustBeThere) {
  Boot({});
  ASSERT_EQ(mkfifo("fifo", 0600), 0);
  ASSERT_EQ(mkdir("vde", 0700), 0);
  const std::string here = folder_;
  EXPECT_EQ(Reason(Plug("eth0=daemon,,unix," + here + "/none")), "NO_SWITCH");
  EXPECT_EQ(Reason(Plug("eth0=daemon,,unix," + here + "/fifo")), "NO_SWITCH");
  EXPECT_EQ(Reason(Plug("eth0=vde," + here + "/fifo")), "NO_SWITCH");
  EXPECT_EQ(Reason(Plug("eth0=vde," + here + "/vde")), "NO_SWITCH");
  EXPECT_EQ(Reason(Plug("vec0:transport=raw,ifname=nothere")), "NO_SUCH_INTERFACE");
  EXPECT_THAT(seen_, IsEmpty());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {AF_UNIX, "switch"};
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(Reason(Plug("eth0=daemon,,unix," + here + "/switch")), "NO_SWITCH");
  ASSERT_EQ(listen(listener, 5), 0);
  EXPECT_TRUE(Plug("eth0=daemon,,unix," + here + "/switch").ok());
  close(listener);
}

// A confined guest's: what the user sees is the same.
TEST_F(NicsTest, AConfinedGuestsStayOverRebootsToo) {
  nics_->Confine(devices::ExistingTap::kRefused);
  Boot({kEth0});
  const int index = devices::InterfaceIndex("tapn0");
  ASSERT_NE(index, 0);
  nics_->KernelGone("rebooted");
  absl::Status refused = nics_->PrepareBoot(Config({kEth0, "eth1=mcast,02:00:00:00:00:02"}));
  EXPECT_EQ(GetErrorDetail(refused).reason, "NEEDS_HOST_NETWORK");
  Boot({kEth0});
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), index);
  EXPECT_TRUE(fs::exists("taps"));
  // Lost to somebody on the host: the next kernel gets it anew.
  EXPECT_EQ(system("ip link del tapn0"), 0);
  nics_->KernelGone("rebooted");
  Boot({kEth0});
  EXPECT_NE(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_NE(devices::InterfaceIndex("tapn0"), index);
}

TEST_F(NicsTest, AConfinedGuestGetsItsOwnTapsAlone) {
  nics_->Confine(devices::ExistingTap::kRefused);
  ASSERT_EQ(system("ip tuntap add dev tapn9 mode tap"), 0);
  EXPECT_EQ(GetErrorDetail(nics_->PrepareBoot(Config({"eth0=tuntap,tapn9"}))).reason, "NAME_TAKEN");
  Boot({kEth0});
  constexpr unsigned kFlags = IFF_TAP | IFF_NO_PI;
  UniqueFd tap, second;
  EXPECT_EQ(nics_->GiveTap("tapn9", kFlags, &tap), EPERM) << "another's";
  EXPECT_EQ(nics_->GiveTap("tapn1", kFlags, &tap), EPERM) << "nobody's";
  EXPECT_EQ(nics_->GiveTap("", kFlags, &tap), EPERM);
  EXPECT_EQ(nics_->GiveTap("tapn0", IFF_TUN | IFF_NO_PI, &tap), EINVAL);
  EXPECT_EQ(nics_->GiveTap("tapn0", kFlags | IFF_MULTI_QUEUE, &tap), EINVAL);
  EXPECT_FALSE(tap.ok());
  EXPECT_EQ(devices::InterfaceIndex("tapn1"), 0) << "it was made";
  ASSERT_EQ(nics_->GiveTap("tapn0", kFlags, &tap), 0);
  EXPECT_EQ(nics_->GiveTap("tapn0", kFlags, &second), EBUSY);
  tap.reset();
  ASSERT_EQ(nics_->GiveTap("tapn0", kFlags | IFF_VNET_HDR, &tap), 0) << "down and up again";
  // One that somebody removed is not made again behind the user's back, nor is another one of its name taken.
  ASSERT_EQ(system("ip link del tapn0"), 0);
  tap.reset();
  EXPECT_EQ(nics_->GiveTap("tapn0", kFlags, &tap), ENODEV);
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  ASSERT_EQ(system("ip tuntap add dev tapn0 mode tap"), 0);
  EXPECT_EQ(nics_->GiveTap("tapn0", kFlags, &tap), ENODEV);
  EXPECT_EQ(system("ip link del tapn0 && ip link del tapn9"), 0);
}

// A guest that does as if it let go of its tap, and does not.
TEST_F(NicsTest, AnUnpluggedTapIsGoneWhoeverHoldsIt) {
  nics_->Confine(devices::ExistingTap::kRefused);
  Boot({});
  ASSERT_TRUE(Plug(kEth0).ok());
  UniqueFd tap;
  ASSERT_EQ(nics_->GiveTap("tapn0", IFF_TAP | IFF_NO_PI, &tap), 0);
  ASSERT_TRUE(Unplug("eth0").ok());
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_FALSE(fs::exists("taps"));
  EXPECT_EQ(write(tap.get(), "frame", 5), -1);
}

TEST_F(NicsTest, WhoComesAfterACrashCleansUp) {
  Boot({kEth0});
  nics_ = NewNics();  // the old one forgot everything, as a process that is killed does
  EXPECT_NE(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_TRUE(Nics::RemoveRecordedTaps().ok());
  EXPECT_EQ(devices::InterfaceIndex("tapn0"), 0);
  EXPECT_TRUE(Nics::RemoveRecordedTaps().ok());
}

}  // namespace
}  // namespace umld::vmcore
