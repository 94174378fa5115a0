#include "devices/nic/tap.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string Output(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  for (int c; (c = fgetc(pipe)) != EOF;) text.push_back(static_cast<char>(c));
  pclose(pipe);
  return text;
}

// In a network namespace of the test program's own.
class TapTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0) GTEST_SKIP() << "only root makes taps";
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(Output("ip link set lo up"), "");
  }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root makes taps";
  }
  void TearDown() override { EXPECT_THAT(Output("ip -o link show"), Not(HasSubstr("tapt"))); }

  absl::StatusOr<HostEnd> Open(const std::string& name, const std::string& address = "") {
    return OpenTap(name, address, existing_, [this](const HostEnd& tap) {
      recorded_.push_back(tap);
      return record_;
    });
  }
  static UniqueFd Attached(const std::string& name) {
    UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request = {};
    strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    EXPECT_EQ(ioctl(fd.get(), TUNSETIFF, &request), 0);
    return fd;
  }
  // Whether TCP leaves it to the interface to make segments.
  static bool Segments(const std::string& name) {
    ethtool_value value = {ETHTOOL_GTSO, 0};
    ifreq request = {};
    strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(ioctl(fd.get(), SIOCETHTOOL, &request), 0);
    return value.data != 0;
  }
  static std::string ReasonOf(const absl::StatusOr<HostEnd>& tap) { return GetErrorDetail(tap.status()).reason; }

  ExistingTap existing_ = ExistingTap::kTaken;
  std::vector<HostEnd> recorded_;
  absl::Status record_;
};

TEST_F(TapTest, IsMadeUpAndAddressedAndGoesAgain) {
  auto tap = Open("tapt0", "192.0.2.254/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_TRUE(tap->made);
  EXPECT_EQ(tap->index, InterfaceIndex("tapt0"));
  EXPECT_THAT(recorded_, ElementsAre(*tap));
  EXPECT_THAT(Output("ip -o link show dev tapt0"), HasSubstr(",UP"));
  EXPECT_THAT(Output("ip -o addr show dev tapt0"), HasSubstr("inet 192.0.2.254/24"));
  EXPECT_THAT(Output("ip -d link show dev tapt0"), HasSubstr("persist on"));
  EXPECT_THAT(Output("ip route"), HasSubstr("192.0.2.0/24 dev tapt0"));
  Attached("tapt0");  // and let go of
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_EQ(InterfaceIndex("tapt0"), 0);
  EXPECT_TRUE(CloseTap(*tap).ok());  // once more: nobody's loss
}

TEST_F(TapTest, OneThatWasThereStays) {
  ASSERT_EQ(Output("ip tuntap add dev tapt1 mode tap"), "");
  auto tap = Open("tapt1", "192.0.2.1/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_FALSE(tap->made);
  EXPECT_EQ(tap->address, "192.0.2.1/24");
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_THAT(Output("ip -o addr show dev tapt1"), Not(HasSubstr("192.0.2.1")));
  // An address that it had stays too.
  ASSERT_EQ(Output("ip addr add 192.0.2.1/24 dev tapt1"), "");
  tap = Open("tapt1", "192.0.2.1/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_EQ(tap->address, "");
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_THAT(Output("ip -o addr show dev tapt1"), HasSubstr("192.0.2.1"));
  Output("ip link del tapt1");
}

TEST_F(TapTest, RefusesWhatItCannotUse) {
  ASSERT_EQ(Output("ip link add taptd type bridge"), "");
  EXPECT_EQ(ReasonOf(Open("taptd")), "NOT_A_TAP");
  Output("ip link del taptd");
  auto tap = Open("tapt2", "192.0.2.2/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  {
    UniqueFd other = Attached("tapt2");
    EXPECT_EQ(ReasonOf(Open("tapt2")), "TAP_BUSY");
  }
  auto second = Open("tapt3", "192.0.2.2/16");
  EXPECT_EQ(ReasonOf(second), "ADDRESS_IN_USE");
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("192.0.2.2 on tapt2"));
  EXPECT_EQ(InterfaceIndex("tapt3"), 0);
  EXPECT_TRUE(CloseTap(*tap).ok());
}

TEST_F(TapTest, MayHaveToBeNew) {
  ASSERT_EQ(Output("ip tuntap add dev tapt6 mode tap"), "");
  existing_ = ExistingTap::kRefused;
  EXPECT_EQ(ReasonOf(Open("tapt6")), "NAME_TAKEN");
  EXPECT_EQ(ReasonOf(Open("lo")), "NAME_TAKEN");
  Output("ip link del tapt6");
  auto tap = Open("tapt6");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_TRUE(CloseTap(*tap).ok());
}

TEST_F(TapTest, GoesWithSomebodyAttachedAsWell) {
  auto tap = Open("tapt7");
  ASSERT_TRUE(tap.ok()) << tap.status();
  UniqueFd attached;
  ASSERT_EQ(AttachToTap(*tap, IFF_TAP | IFF_NO_PI, &attached), 0);
  EXPECT_THAT(Output("ip -o link show dev tapt7"), HasSubstr("LOWER_UP"));
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_EQ(InterfaceIndex("tapt7"), 0);
  attached.reset();
  Output("ip tuntap add dev tapt7 mode tap");
  EXPECT_EQ(AttachToTap(*tap, IFF_TAP | IFF_NO_PI, &attached), ENODEV);
  Output("ip link del tapt7");
  EXPECT_EQ(AttachToTap(*tap, IFF_TAP | IFF_NO_PI, &attached), ENODEV);
  EXPECT_EQ(InterfaceIndex("tapt7"), 0);
}

TEST_F(TapTest, MayBeRenamed) {
  auto tap = Open("tapt8");
  ASSERT_TRUE(tap.ok()) << tap.status();
  ASSERT_EQ(Output("ip link set tapt8 name tapt9; ip tuntap add dev tapt8 mode tap"), "");
  UniqueFd attached;
  ASSERT_EQ(AttachToTap(*tap, IFF_TAP | IFF_NO_PI, &attached), 0);
  EXPECT_THAT(Output("ip -o link show dev tapt9"), HasSubstr("LOWER_UP"));
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_EQ(InterfaceIndex("tapt9"), 0);
  EXPECT_NE(InterfaceIndex("tapt8"), 0);
  Output("ip link del tapt8");
}

// What one user of a tap asks for is not the next one's.
TEST_F(TapTest, IsAttachedToAsIfItWereNew) {
  auto tap = Open("tapt0");
  ASSERT_TRUE(tap.ok()) << tap.status();
  constexpr unsigned kFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  auto size = [](const UniqueFd& fd) {
    int header = 0;
    EXPECT_EQ(ioctl(fd.get(), TUNGETVNETHDRSZ, &header), 0);
    return header;
  };
  UniqueFd attached;
  ASSERT_EQ(AttachToTap(*tap, kFlags, &attached), 0);
  EXPECT_EQ(size(attached), 10);
  int header = 4000;
  ASSERT_EQ(ioctl(attached.get(), TUNSETVNETHDRSZ, &header), 0);
  ASSERT_EQ(ioctl(attached.get(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), 0);
  EXPECT_TRUE(Segments("tapt0"));
  attached.reset();
  ASSERT_EQ(AttachToTap(*tap, kFlags, &attached), 0);
  EXPECT_EQ(size(attached), 10);
  EXPECT_FALSE(Segments("tapt0"));
  EXPECT_TRUE(CloseTap(*tap).ok());
}

TEST_F(TapTest, WhatCannotBeRecordedIsNotKept) {
  record_ = absl::ResourceExhaustedError("disk full");
  EXPECT_EQ(Open("tapt4", "192.0.2.4/24").status(), record_);
  EXPECT_EQ(InterfaceIndex("tapt4"), 0);
}

TEST_F(TapTest, AnotherOfThatNameIsLeftAlone) {
  auto tap = Open("tapt5");
  ASSERT_TRUE(tap.ok()) << tap.status();
  Output("ip link del tapt5; ip tuntap add dev tapt5 mode tap");
  EXPECT_TRUE(CloseTap(*tap).ok());
  EXPECT_NE(InterfaceIndex("tapt5"), 0);
  Output("ip link del tapt5");
}

TEST(TapRecord, ReadsWhatItWrote) {
  const std::vector<HostEnd> taps = {{"tap0", 7, true, "192.0.2.1/24"}, {"tap1", 8, false, ""}};
  EXPECT_EQ(ParseTapRecord(PrintTapRecord(taps)), taps);
  EXPECT_TRUE(ParseTapRecord("").empty());
  // Of another boot: the numbers mean nothing now.
  EXPECT_TRUE(ParseTapRecord("00000000-0000-0000-0000-000000000000\ntap0 7 1 \n").empty());
  EXPECT_EQ(ParseTapRecord(PrintTapRecord(taps) + "garbage\ntap2 x 1 \n"), taps);
}

}  // namespace
}  // namespace umld::devices
