#include "devices/nic/guest_tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr uid_t kOwner = 61999;

std::string Output(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  for (int c; (c = fgetc(pipe)) != EOF;) text.push_back(static_cast<char>(c));
  pclose(pipe);
  return text;
}

// The test program's own namespace is the host's.
class GuestTapTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (geteuid() != 0) return;
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(Output("ip link set lo up"), "");
  }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root joins network namespaces";
    auto guest = NetworkNamespace::Create();
    ASSERT_TRUE(guest.ok()) << guest.status();
    guest_ = *std::move(guest);
  }
  void TearDown() override { EXPECT_EQ(Output("ip -o link show | grep -c ."), "1\n") << Output("ip link"); }

  absl::StatusOr<GuestTap> Open(const std::string& device, const std::string& name, const std::string& address = "") {
    return OpenGuestTap(*guest_, device, name, address, kOwner, [this](const HostEnd& end) {
      recorded_.push_back(end);
      return record_;
    });
  }
  std::string Inside(const std::string& command) {
    std::string out;
    EXPECT_TRUE(guest_
                    ->Run([&] {
                      out = Output(command);
                      return absl::OkStatus();
                    })
                    .ok());
    return out;
  }
  // As the guest's kernel does it: as the owner, without a capability.
  UniqueFd AttachAs(uid_t uid, const std::string& name) {
    UniqueFd fd;
    EXPECT_TRUE(guest_
                    ->Run([&] {
                      fd.reset(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
                      return absl::OkStatus();
                    })
                    .ok());
    EXPECT_EQ(seteuid(uid), 0);
    ifreq request = {};
    strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    const bool attached = ioctl(fd.get(), TUNSETIFF, &request) == 0;
    EXPECT_EQ(seteuid(0), 0);
    if (!attached) fd.reset();
    return fd;
  }
  static std::string ReasonOf(const absl::Status& status) { return GetErrorDetail(status).reason; }
  // A datagram of the host to 192.0.2.1.
  static void Send(const std::string& text) {
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = htonl(0xc0000201);
    const auto* address = reinterpret_cast<const sockaddr*>(&to);
    EXPECT_EQ(sendto(fd.get(), text.data(), text.size(), 0, address, sizeof(to)), static_cast<ssize_t>(text.size()));
  }
  // The next frame with `text` in it.
  static bool Arrives(const UniqueFd& fd, const std::string& text) {
    char frame[70000];
    while (true) {
      pollfd wait = {fd.get(), POLLIN, 0};
      if (poll(&wait, 1, 3000) <= 0) return false;
      const ssize_t got = read(fd.get(), frame, sizeof(frame));
      if (got > 0 && std::string(frame, static_cast<size_t>(got)).find(text) != std::string::npos) return true;
    }
  }

  std::unique_ptr<NetworkNamespace> guest_;
  std::vector<HostEnd> recorded_;
  absl::Status record_;
};

TEST_F(GuestTapTest, TheNamespaceIsEmptyAndDown) {
  EXPECT_THAT(Inside("ip -o link"), Not(ContainsRegex(",UP|LOWER_UP")));
  EXPECT_EQ(Inside("ip -o addr; ip route; ip -6 route"), "");
  EXPECT_EQ(Inside("ls /sys/class/net >/dev/null; cat /proc/net/dev | tail -n +3 | grep -c :"), "1\n");
}

TEST_F(GuestTapTest, IsAWireFromTheTapToTheHostsEnd) {
  auto tap = Open("eth0", "web1", "192.0.2.254/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_EQ(tap->host.index, InterfaceIndex("web1"));
  ASSERT_EQ(recorded_.size(), 1U);
  EXPECT_EQ(recorded_[0], tap->host);
  EXPECT_THAT(Output("ip -o addr show dev web1"), HasSubstr("inet 192.0.2.254/24"));
  EXPECT_THAT(Output("ip -o link show dev web1"), HasSubstr("mtu 1500"));
  EXPECT_TRUE(IsWhole(*guest_, *tap));
  // Nothing of it can be seen on the way.
  EXPECT_EQ(Inside("ip -o addr; ip -6 -o addr"), "");
  UniqueFd kernel = AttachAs(kOwner, "web1");
  ASSERT_TRUE(kernel.ok());
  // To the guest: the host asks for it.
  ASSERT_EQ(Output("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev web1"), "");
  Send("to-the-guest");
  EXPECT_TRUE(Arrives(kernel, "to-the-guest"));
  // Longer than the usual, once both sides say so, whatever is between them.
  ASSERT_EQ(Output("ip link set web1 mtu 9000"), "");
  const std::string longer(8000, 'L');
  Send(longer);
  EXPECT_TRUE(Arrives(kernel, longer));
  // From the guest: an ARP request, which the host answers.
  const unsigned char request[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,   1, 8, 6,
                                   0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,   0, 0, 1,
                                   192,  0,    2,    1,    0,    0,    0, 0, 0, 0, 192, 0, 2, 254};
  ASSERT_EQ(write(kernel.get(), request, sizeof(request)), static_cast<ssize_t>(sizeof(request)));
  EXPECT_TRUE(Arrives(kernel, std::string("\xc0\x00\x02\xfe\x02\x00\x00\x00\x00\x01\xc0\x00\x02\x01", 14)));
  kernel.reset();
  // The tap stays when its kernel goes, and is there for the next.
  EXPECT_TRUE(AttachAs(kOwner, "web1").ok());
  EXPECT_TRUE(CloseGuestTap(*guest_, *tap).ok());
  EXPECT_TRUE(CloseGuestTap(*guest_, *tap).ok()) << "gone is gone";
  EXPECT_EQ(Inside("tail -n +3 /proc/net/dev | grep -c :"), "1\n");
}

TEST_F(GuestTapTest, ItIsTheOwnersAlone) {
  auto tap = Open("eth0", "web1");
  ASSERT_TRUE(tap.ok()) << tap.status();
  EXPECT_FALSE(AttachAs(kOwner + 1, "web1").ok());
  EXPECT_FALSE(AttachAs(kOwner, "another").ok()) << "it makes one";
  EXPECT_TRUE(AttachAs(kOwner, "web1").ok());
  EXPECT_TRUE(CloseGuestTap(*guest_, *tap).ok());
}

TEST_F(GuestTapTest, GoesWithTheNamespace) {
  ASSERT_TRUE(Open("eth0", "web1").ok());
  ASSERT_TRUE(Open("vec3", "web2").ok());
  EXPECT_NE(InterfaceIndex("web1"), 0);
  guest_.reset();
  for (int i = 0; i < 500 && InterfaceIndex("web1") + InterfaceIndex("web2") != 0; ++i) usleep(10000);
}

TEST_F(GuestTapTest, TheRecordSufficesToRemoveIt) {
  auto tap = Open("eth0", "web1", "192.0.2.254/24");
  ASSERT_TRUE(tap.ok()) << tap.status();
  const std::vector<HostEnd> record = ParseTapRecord(PrintTapRecord(recorded_));
  ASSERT_EQ(record.size(), 1U);
  EXPECT_TRUE(CloseTap(record[0]).ok());
  EXPECT_EQ(InterfaceIndex("web1"), 0);
  EXPECT_FALSE(IsWhole(*guest_, *tap));
  EXPECT_TRUE(CloseTap(record[0]).ok());
  // Another of that name is not ours.
  ASSERT_EQ(Output("ip link add web1 type veth peer name other"), "");
  EXPECT_TRUE(CloseTap(record[0]).ok());
  EXPECT_NE(InterfaceIndex("web1"), 0);
  ASSERT_EQ(Output("ip link del web1"), "");
}

TEST_F(GuestTapTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  ASSERT_EQ(Output("ip tuntap add dev mine mode tap; ip addr add 192.0.2.254/24 dev lo"), "");
  EXPECT_EQ(ReasonOf(Open("eth0", "mine").status()), "NAME_TAKEN");
  EXPECT_EQ(ReasonOf(Open("eth0", "web1", "192.0.2.254/24").status()), "ADDRESS_IN_USE");
  record_ = absl::InternalError("the disk is full");
  EXPECT_EQ(Open("eth0", "web1").status().message(), "the disk is full");
  EXPECT_EQ(Inside("tail -n +3 /proc/net/dev | grep -c :"), "1\n");
  ASSERT_EQ(Output("ip link del mine; ip addr del 192.0.2.254/24 dev lo"), "");
}

// The guest's own tap is its owner's to remove: then the next kernel gets a new one.
TEST_F(GuestTapTest, ATapThatTheGuestRemovedIsMissed) {
  auto tap = Open("eth0", "web1");
  ASSERT_TRUE(tap.ok()) << tap.status();
  UniqueFd kernel = AttachAs(kOwner, "web1");
  ASSERT_EQ(ioctl(kernel.get(), TUNSETPERSIST, 0UL), 0);
  kernel.reset();
  EXPECT_FALSE(IsWhole(*guest_, *tap));
  EXPECT_TRUE(CloseGuestTap(*guest_, *tap).ok());
}

}  // namespace
}  // namespace umld::devices
