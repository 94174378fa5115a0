// Network interfaces: taps, switches and buses, plugged while the guest runs and at its boot, with packets both ways.
// All of it in a network namespace of the test's own: umld and everything below it are in it too.
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Nics : public SharedHost {
 protected:
  static void SetUpTestSuite() {
    if (getuid() != 0) return;
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    SharedHost::SetUpTestSuite();
    // No packets but those of the tests.
    ASSERT_TRUE(
        Ok(host_->Shell("ip link set lo up && for c in all default; do echo 1 > "
                        "/proc/sys/net/ipv6/conf/$c/disable_ipv6; done 2>/dev/null; true")));
  }
  void TearDown() override {
    SharedHost::TearDown();
    if (host_ == nullptr) return;
    EXPECT_EQ(Links(), "lo\n") << "left behind on the host";
  }

  // The names of the host's interfaces, one a line.
  static std::string Links() { return host_->Shell("ip -o link | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/'").out; }
  static std::string Addresses(const std::string& link) { return host_->Shell("ip -o addr show dev " + link).out; }
  static std::string Index(const std::string& link) {
    return host_->Shell("ip -o link show dev " + link + " | cut -d: -f1").out;
  }
  static Json NicOf(const std::string& guest, const std::string& device) {
    const Json described = host_->Describe(guest);
    if (!described.is_object()) return Json::object();
    for (const Json& nic : described.value("nics", Json::array())) {
      if (absl::EndsWith(nic.value("name", ""), "/" + device)) return nic;
    }
    return Json::object();
  }
  static std::string InGuest(const std::string& guest, const std::string& command) {
    const GuestResult result = host_->RunInGuest(guest, command);
    EXPECT_EQ(result.exit_code, 0) << command << ": " << result;
    return std::string(absl::StripAsciiWhitespace(result.out));
  }
  static std::string Carrier(const std::string& interface) {
    return host_->Shell(absl::StrCat("ip -o link show dev ", interface, " | grep -c LOWER_UP")).out;
  }
  static void BringUp(const std::string& guest, const std::string& device, const std::string& address) {
    InGuest(guest, absl::StrCat("ip addr add ", address, "/24 dev ", device, " && ip link set ", device, " up"));
  }
  static testing::AssertionResult GuestPings(const std::string& guest, const std::string& address) {
    const GuestResult ping = host_->RunInGuest(guest, absl::StrCat("ping -c 3 -W 10 ", address));
    if (ping.exit_code == 0) return testing::AssertionSuccess();
    return testing::AssertionFailure() << guest << " does not reach " << address << ": " << ping;
  }
  static testing::AssertionResult HostPings(const std::string& address) {
    return Ok(host_->Shell("busybox ping -c 3 -W 10 " + address));
  }
  static std::string Mac(const std::string& guest, const std::string& device) {
    return InGuest(guest, absl::StrCat("cat /sys/class/net/", device, "/address"));
  }
  static uint64_t Count(const Json& nic, const std::string& what) {
    uint64_t number = 0;
    const Json counters = nic.value("counters", Json::object());
    if (!counters.contains(what)) return 0;
    const Json& value = counters[what];
    return value.is_string() ? (absl::SimpleAtoi(value.get<std::string>(), &number) ? number : 0)
                             : value.get<uint64_t>();
  }
  static pid_t Supervisor(const std::string& guest) {
    return host_->Describe(guest)["processes"].value("supervisor_pid", 0);
  }
};

TEST_F(Nics, TheOldSpellingMakesAWorkingInterface) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "eth0=tuntap,tap0,FE:FD:0:0:0:1,192.168.0.254"})));
  EXPECT_THAT(Addresses("tap0"), HasSubstr("inet 192.168.0.254/24"));
  BringUp("web1", "eth0", "192.168.0.1");
  EXPECT_TRUE(GuestPings("web1", "192.168.0.254"));
  EXPECT_TRUE(HostPings("192.168.0.1"));
  EXPECT_EQ(Mac("web1", "eth0"), "fe:fd:00:00:00:01");
  EXPECT_EQ(host_->Run({"config", "web1", "eth0"}).out, "tuntap,tap0,fe:fd:00:00:00:01,192.168.0.254/24\n");
  // The same packets on both sides.
  auto inside = [&](const std::string& what) {
    return InGuest("web1", absl::StrCat("cat /sys/class/net/eth0/statistics/", what));
  };
  EXPECT_TRUE(WaitFor([&] {
    const Json nic = NicOf("web1", "eth0");
    return Count(nic, "received_packets") >= 6 &&
           inside("rx_packets") == absl::StrCat(Count(nic, "received_packets")) &&
           inside("tx_packets") == absl::StrCat(Count(nic, "sent_packets")) && Count(nic, "sent_bytes") > 6 * 64;
  })) << NicOf("web1", "eth0").dump()
      << inside("rx_packets") << " " << inside("tx_packets");
  // The host's own packets come whenever it likes.
  EXPECT_TRUE(WaitFor([&] {
    return Count(Json::parse(host_->Run({"config", "web1", "eth0", "-o", "json"}).out)["nic"], "received_packets") ==
           Count(NicOf("web1", "eth0"), "received_packets");
  }));
  const std::string described = host_->Run({"describe", "web1"}).out;
  EXPECT_THAT(described,
              HasSubstr("eth0=tuntap,tap0,fe:fd:00:00:00:01,192.168.0.254/24  (tap0 made by umld, received"));

  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "eth0"}), kWrongState,
                      {"web1", "eth0 is up in the guest", "ip link set eth0 down"}));
  EXPECT_TRUE(GuestPings("web1", "192.168.0.254"));
  InGuest("web1", "ip link set eth0 down");
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "eth0"})));
  EXPECT_EQ(Links(), "lo\n");
  EXPECT_NE(host_->RunInGuest("web1", "test -e /sys/class/net/eth0").exit_code, 0);
  EXPECT_EQ(host_->Run({"config", "web1", "eth0"}).out, "\n");
  // And again, by the fast driver too, at once.
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "eth0=tuntap,tap0,,192.168.0.254"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "vec0:transport=tap,ifname=tap1,host=10.1.0.254,depth=32,gro=1"})));
  BringUp("web1", "eth0", "192.168.0.1");
  BringUp("web1", "vec0", "10.1.0.1");
  EXPECT_TRUE(GuestPings("web1", "192.168.0.254"));
  EXPECT_TRUE(GuestPings("web1", "10.1.0.254"));
  EXPECT_TRUE(HostPings("10.1.0.1"));
  // Over and over, beside them.
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "eth1=tuntap,tap2,,10.2.0.254"}))) << round;
    ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "eth1"}))) << round;
  }
  EXPECT_EQ(Links(), "lo\ntap0\ntap1\n");
}

TEST_F(Nics, StaysOverRebootsAndGoesWithTheGuest) {
  ASSERT_TRUE(host_->CreateAndStart(
      "web1", {"--nic", "eth0=tuntap,,,192.168.0.254", "--nic", "vec0:transport=tap,ifname=tap1,host=10.1.0.254"}));
  const std::string mac = NicOf("web1", "eth0").value("mac", "");
  const std::string tap = NicOf("web1", "eth0").value("interface", "");
  const std::string vec_mac = NicOf("web1", "vec0").value("mac", "");
  EXPECT_THAT(mac, StartsWith("02:"));
  EXPECT_THAT(tap, StartsWith("tap"));
  EXPECT_NE(mac, vec_mac);
  auto works = [&] {
    EXPECT_EQ(Mac("web1", "eth0"), mac);
    EXPECT_EQ(Mac("web1", "vec0"), vec_mac);
    BringUp("web1", "eth0", "192.168.0.1");
    BringUp("web1", "vec0", "10.1.0.1");
    EXPECT_TRUE(GuestPings("web1", "192.168.0.254"));
    EXPECT_TRUE(HostPings("10.1.0.1"));
  };
  works();
  // One more, for this kernel alone.
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "eth1=tuntap,tap9", "--live-only"})));
  EXPECT_FALSE(NicOf("web1", "eth1").value("persistent", false));
  EXPECT_TRUE(NicOf("web1", "eth0").value("persistent", false));
  const std::string index = Index(tap);
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"})));
  EXPECT_EQ(Index(tap), index) << "the tap was not kept";
  EXPECT_THAT(Links(), Not(HasSubstr("tap9\n")));
  works();
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_EQ(Links(), "lo\n");
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  works();
  // The supervisor is killed: umld takes back what it made.
  kill(Supervisor("web1"), SIGKILL);
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_EQ(Links(), "lo\n");
  // Both are.
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_THAT(Links(), HasSubstr(tap));
  const pid_t supervisor = Supervisor("web1");
  host_->Kill9();
  kill(supervisor, SIGKILL);
  ASSERT_TRUE(host_->Start());
  ASSERT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_EQ(Links(), "lo\n");
  // umld alone: nothing happens to a guest's network.
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  BringUp("web1", "eth0", "192.168.0.1");
  host_->Kill9();
  EXPECT_TRUE(HostPings("192.168.0.1"));
  ASSERT_TRUE(host_->Start());
  ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
  EXPECT_EQ(NicOf("web1", "eth0").value("interface", ""), tap);
  EXPECT_TRUE(NicOf("web1", "eth0").value("plugged", false));
}

// It was told to make it, and does without a word what it likes: it is asked when it has booted, and not before.
TEST_F(Nics, OneThatTheKernelDoesNotMakeIsTakenBack) {
  for (const bool paused : {false, true}) {
    ASSERT_TRUE(host_->Create("web1", {"--nic", "eth0=tuntap,tap0", "--nic", "vec0:transport=tap,ifname=tap1", "--arg",
                                       "initcall_blacklist=register_tuntap"}));
    ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
    if (paused) {
      ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
      ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
    }
    EXPECT_TRUE(WaitFor([] { return Links() == "lo\ntap1\n"; })) << Links();
    EXPECT_FALSE(NicOf("web1", "eth0").value("plugged", true)) << paused;
    EXPECT_TRUE(NicOf("web1", "vec0").value("plugged", false)) << paused;
    BringUp("web1", "vec0", "10.1.0.1");
    ASSERT_TRUE(Ok(host_->Run({"delete", "web1", "--force"})));
  }
}

// The kernel of a relaxed guest is in the host's network, and opens taps there.
TEST_F(Nics, ATapThatWasThereIsUsedAndStays) {
  ASSERT_TRUE(Ok(host_->Shell("ip tuntap add dev mine mode tap && ip addr add 10.2.0.254/24 dev mine")));
  ASSERT_TRUE(
      host_->CreateAndStart("web1", {"--confinement", "relaxed", "--trust", "trusted", "--nic", "eth0=tuntap,mine"}));
  BringUp("web1", "eth0", "10.2.0.1");
  EXPECT_TRUE(HostPings("10.2.0.1"));
  EXPECT_FALSE(NicOf("web1", "eth0").value("interface_made", false));
  ASSERT_TRUE(host_->Create("web2"));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web2", "eth0=tuntap,mine"}), kWrongState, {"mine", "guest web1's eth0"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_THAT(Addresses("mine"), HasSubstr("10.2.0.254/24"));
  EXPECT_TRUE(Ok(host_->Shell("ip link del mine")));
}

TEST_F(Nics, TheStockToolPlugsAsksAndRemoves) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const CommandResult plugged = host_->UmlMconsole({"web1", "config", "eth0=tuntap,tap0,,192.168.0.254"});
  EXPECT_EQ(plugged.out + plugged.err, "OK \n");
  EXPECT_THAT(Addresses("tap0"), HasSubstr("192.168.0.254/24"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config", "eth0"}).out, StartsWith("OK tuntap,tap0,02:"));
  BringUp("web1", "eth0", "192.168.0.1");
  EXPECT_TRUE(HostPings("192.168.0.1"));
  const CommandResult busy = host_->UmlMconsole({"web1", "remove", "eth0"});
  EXPECT_THAT(busy.out + busy.err, HasSubstr("ERR"));
  EXPECT_THAT(busy.out + busy.err, HasSubstr("eth0 is up in the guest"));
  InGuest("web1", "ip link set eth0 down");
  EXPECT_EQ(host_->UmlMconsole({"web1", "remove", "eth0"}).exit_code, 0);
  EXPECT_EQ(Links(), "lo\n");
  EXPECT_TRUE(NicOf("web1", "eth0").empty());
}

TEST_F(Nics, RefusesWhatCannotWork) {
  ASSERT_TRUE(Ok(host_->Shell("mkfifo fifo; ip link add other type bridge")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--confinement", "relaxed", "--trust", "trusted", "--nic",
                                             "eth0=tuntap,tap0,02:00:00:00:00:01,192.168.0.254"}));
  ASSERT_TRUE(host_->Create("web2", {"--confinement", "relaxed", "--trust", "trusted"}));
  auto plug = [&](const std::string& spec) { return host_->Run({"plug", "web1", spec}); };
  EXPECT_TRUE(Refused(plug("eth1=slirp,,/usr/bin/slirp"), kUsage, {"position 6", "slirp"}));
  EXPECT_TRUE(Refused(plug("eth1=bogus"), kUsage, {"no transport \"bogus\""}));
  EXPECT_TRUE(Refused(plug("eth1=tuntap,tap1,01:00:00:00:00:01"), kUsage, {"position 18", "group"}));
  EXPECT_TRUE(Refused(plug("eth1=tuntap,a-name-that-is-too-long"), kUsage, {"position 13", "at most 15"}));
  EXPECT_TRUE(Refused(plug("eth16=tuntap,tap1"), kUsage, {"eth16"}));
  EXPECT_TRUE(Refused(plug("eth0=tuntap,tap1"), kBusyOrExists, {"web1", "has eth0 already"}));
  EXPECT_TRUE(Refused(plug("eth1=tuntap,tap0"), kWrongState, {"tap0", "this guest's eth0"}));
  EXPECT_TRUE(Refused(plug("eth1=tuntap,other"), kWrongState, {"other is no tap"}));
  EXPECT_TRUE(Refused(plug("eth1=tuntap,tap1,,192.168.0.254"), kWrongState, {"192.168.0.254 on tap0"}));
  EXPECT_TRUE(Refused(plug("eth1=daemon,,unix,fifo"), kWrongState, {"/fifo", "no socket of a switch", "uml_switch"}));
  EXPECT_TRUE(Refused(plug("eth1=daemon,,unix,/nonexistent"), kWrongState, {"/nonexistent", "uml_switch"}));
  EXPECT_TRUE(Refused(plug("eth1=vde,fifo"), kWrongState, {"/fifo", "vde_switch"}));
  EXPECT_TRUE(Refused(plug("vec0:transport=raw,ifname=nothere"), kNotFound, {"no interface nothere"}));
  EXPECT_TRUE(Refused(plug("vec0:transport=fd,fd=3"), kUsage, {"no descriptor"}));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web2", "eth0=tuntap,tap0"}), kWrongState, {"guest web1's eth0"}));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web2", "eth0=mcast,02:00:00:00:00:01"}), kWrongState,
                      {"02:00:00:00:00:01", "guest web1's eth0"}));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "eth7"}), kNotFound, {"has no eth7"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web3", "--arg", "eth0=tuntap,x"}), kUsage, {"eth0=tuntap,x", "--nic"}));
  // What was refused left nothing, and what was there works.
  EXPECT_EQ(host_->Describe("web1").value("nics", Json::array()).size(), 1U);
  EXPECT_EQ(Links(), "lo\nother\ntap0\n");
  BringUp("web1", "eth0", "192.168.0.1");
  EXPECT_TRUE(HostPings("192.168.0.1"));
  EXPECT_TRUE(Ok(host_->Shell("ip link del other")));
}

// Its interfaces are taps of the host, of which it sees nothing but the frames.
TEST_F(Nics, AConfinedGuestHasItsInterfacesAlone) {
  ASSERT_TRUE(
      Ok(host_->Shell("ip tuntap add dev mine mode tap; ip link add br0 type bridge; ip link set br0 up; "
                      "ip addr add 10.9.0.254/24 dev br0")));
  const std::vector<std::string> texts = {"relaxed", "confined guest"};
  for (const char* spec :
       {"eth0=mcast", "eth0=ucast,,127.0.0.1", "eth0=daemon", "eth0=vde,/tmp", "vec0:transport=raw,ifname=mine",
        "vec0:transport=hybrid", "vec0:transport=gre,src=127.0.0.2,dst=127.0.0.3",
        "vec0:transport=l2tpv3,src=127.0.0.2,dst=127.0.0.3,rx_session=1,tx_session=2"}) {
    EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--nic", spec}), kWrongState, texts)) << spec;
  }
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "eth0=mcast"}), kWrongState, texts));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "eth0=mcast", "--live-only"}), kWrongState, texts));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "eth0=tuntap,mine"}), kWrongState, {"mine", "relaxed"}));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "eth0=tuntap,web1"}), kWrongState, {"paused", "resume"}));
  ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  EXPECT_THAT(Links(), Not(HasSubstr("web1")));
  // On a bridge, as any of the host's interfaces.
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "eth0=tuntap,web1"})));
  ASSERT_TRUE(Ok(host_->Shell("ip link set web1 master br0")));
  BringUp("web1", "eth0", "10.9.0.1");
  EXPECT_TRUE(HostPings("10.9.0.1"));
  EXPECT_TRUE(GuestPings("web1", "10.9.0.254"));
  // Down and up again inside: the host sees the carrier go and come.
  for (int round = 0; round < 20; ++round) {
    InGuest("web1", "ip link set eth0 down");
    EXPECT_TRUE(round > 0 || WaitFor([] { return Carrier("web1") == "0\n"; }));
    InGuest("web1", "ip link set eth0 up");
  }
  EXPECT_TRUE(WaitFor([] { return Carrier("web1") == "1\n"; }));
  EXPECT_TRUE(HostPings("10.9.0.1"));
  // Of the host's network its processes see nothing, their own tap included.
  const std::string kernel = absl::StrCat(host_->Describe("web1")["processes"].value("kernel_pid", 0));
  EXPECT_EQ(host_->Shell(absl::StrCat("nsenter -t ", kernel, " -n ip -br link | cut -d' ' -f1")).out, "lo\n");
  // A guest that has what a confined one cannot have does not become one.
  ASSERT_TRUE(host_->Create("web2", {"--confinement", "relaxed", "--trust", "trusted", "--nic", "eth0=mcast"}));
  EXPECT_TRUE(Refused(host_->Run({"set", "web2", "--confinement", "strict"}), kWrongState, {"web2", "mcast"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_EQ(Links(), "lo\nmine\nbr0\n");
  EXPECT_TRUE(Ok(host_->Shell("ip link del mine; ip link del br0")));
}

// Large packets, with all that the host's kernel leaves to the interface: checksums and segmentation.
TEST_F(Nics, TcpBothWays) {
  ASSERT_TRUE(host_->CreateAndStart(
      "web1", {"--nic", "eth0=tuntap,,,10.0.0.254", "--nic", "vec1:transport=tap,host=10.1.0.254,gro=1"}));
  ASSERT_TRUE(Ok(host_->Shell("head -c 8000000 /dev/urandom > big")));
  const std::string sum = host_->Shell("md5sum < big").out;
  for (const auto& [device, net] : {std::pair("eth0", "10.0.0."), std::pair("vec1", "10.1.0.")}) {
    BringUp("web1", device, absl::StrCat(net, "1"));
    auto beside = [&](const std::string& command) {
      return Running::Start(host_->MakeCommand({"sh", "-c", command}), Running::On::kPipes);
    };
    const std::string host = absl::StrCat(net, "254");
    std::unique_ptr<Running> down = beside(absl::StrCat("socat -u FILE:big TCP-LISTEN:5001,reuseaddr,bind=", host));
    std::unique_ptr<Running> up =
        beside(absl::StrCat("socat -u TCP-LISTEN:5002,reuseaddr,bind=", host, " - > big.", device));
    ASSERT_TRUE(WaitFor([&] { return host_->Shell("ss -Hltn | grep -c ':500[12] '").out == "2\n"; }));
    EXPECT_EQ(InGuest("web1", absl::StrCat("nc ", host, " 5001 > /tmp/big; md5sum < /tmp/big")) + "\n", sum) << device;
    InGuest("web1", absl::StrCat("nc ", host, " 5002 < /tmp/big"));
    EXPECT_TRUE(down->Wait().has_value());
    EXPECT_TRUE(up->Wait().has_value());
    EXPECT_EQ(host_->Shell(absl::StrCat("md5sum < big.", device)).out, sum) << device;
    InGuest("web1", "rm /tmp/big");
  }
}

TEST_F(Nics, TunnelsAndRawSockets) {
  ASSERT_TRUE(Ok(host_->Shell("ip link add va type veth peer name vb && ip link set va up && ip link set vb up")));
  ASSERT_TRUE(host_->CreateAndStart(
      "web1", {"--confinement", "relaxed", "--trust", "trusted", "--nic",
               "vec0:transport=gre,src=127.0.0.2,dst=127.0.0.3,rx_key=1,tx_key=2", "--nic",
               "vec1:transport=l2tpv3,src=127.0.0.2,dst=127.0.0.3,rx_session=1,tx_session=2,udp=1,srcport=1706,"
               "dstport=1707",
               "--nic", "vec2:transport=raw,ifname=va", "--nic", "eth3=ucast,,127.0.0.1,1102,1103", "--nic",
               "vec4:transport=hybrid,ifname=tap4,host=10.4.0.254"}));
  ASSERT_TRUE(host_->CreateAndStart(
      "web2", {"--confinement", "relaxed", "--trust", "trusted", "--nic",
               "vec0:transport=gre,src=127.0.0.3,dst=127.0.0.2,rx_key=2,tx_key=1", "--nic",
               "vec1:transport=l2tpv3,src=127.0.0.3,dst=127.0.0.2,rx_session=2,tx_session=1,udp=1,srcport=1707,"
               "dstport=1706",
               "--nic", "vec2:transport=raw,ifname=vb", "--nic", "eth3=ucast,,127.0.0.1,1103,1102"}));
  for (const char* device : {"vec0", "vec1", "vec2", "eth3"}) {
    const std::string net = absl::StrCat("10.", absl::string_view(device).substr(3), ".0.");
    BringUp("web1", device, net + "1");
    BringUp("web2", device, net + "2");
    EXPECT_TRUE(GuestPings("web1", net + "2")) << device;
  }
  BringUp("web1", "vec4", "10.4.0.1");
  EXPECT_TRUE(GuestPings("web1", "10.4.0.254"));
  EXPECT_TRUE(Ok(host_->Shell("ip link del va")));
}

TEST_F(Nics, GuestsOnSwitchesAndBuses) {
  auto beside = [&](const std::vector<std::string>& argv) {
    return Running::Start(host_->MakeCommand(argv), Running::On::kPipes);
  };
  std::unique_ptr<Running> uml_switch = beside({"uml_switch", "-unix", host_->Work("lab.ctl")});
  std::unique_ptr<Running> vde_switch = beside({"vde_switch", "-s", host_->Work("vde")});
  ASSERT_TRUE(WaitFor([&] { return host_->Shell("test -S lab.ctl && test -S vde/ctl").exit_code == 0; }));
  ASSERT_TRUE(Ok(host_->Shell("ip link set lo multicast on; ip route add 239.0.0.0/8 dev lo")));
  const std::vector<std::string> nics = {
      "--confinement", "relaxed",    "--trust", "trusted",     "--nic", "eth0=daemon,,unix,lab.ctl",
      "--nic",         "eth1=mcast", "--nic",   "eth2=vde,vde"};
  ASSERT_TRUE(host_->CreateAndStart("web1", nics));
  ASSERT_TRUE(host_->CreateAndStart("web2", nics));
  for (int net = 0; net < 3; ++net) {
    BringUp("web1", absl::StrCat("eth", net), absl::StrCat("10.", net, ".0.1"));
    BringUp("web2", absl::StrCat("eth", net), absl::StrCat("10.", net, ".0.2"));
    EXPECT_TRUE(GuestPings("web1", absl::StrCat("10.", net, ".0.2"))) << nics[2 * net + 3];
  }
  for (const char* guest : {"web1", "web2"}) EXPECT_TRUE(Ok(host_->Run({"stop", guest})));
  for (Running* program : {uml_switch.get(), vde_switch.get()}) {
    program->Signal(SIGTERM);
    EXPECT_TRUE(program->Wait().has_value());
  }
  host_->Shell("rm -rf lab.ctl vde");
  // A guest whose switch is not there is not started without a word.
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kSaidNo, {"interface eth0", "lab.ctl"}));
  EXPECT_TRUE(Ok(host_->Shell("ip route del 239.0.0.0/8 dev lo")));
}

// An ordinary user makes no taps, and is told how to get one. What root has made is the guest's, confined as it is.
TEST(NicsOfAUser, AreTapsThatRootHasMade) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to make the tap";
  ASSERT_EQ(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
  // Open to all, as it usually is.
  ASSERT_EQ(system("mount --make-rprivate / && mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200"), 0);
  HostOptions options;
  options.uid = options.gid = 61236;
  Host host(options);
  ASSERT_TRUE(host.Start());
  ASSERT_TRUE(host.CreateAndStart("web1"));
  EXPECT_TRUE(Refused(host.Run({"plug", "web1", "eth0=tuntap,tap0"}), kDenied,
                      {"web1", "interface eth0", "make the tap tap0", "ip tuntap add"}));
  ASSERT_EQ(system("ip tuntap add dev tap0 mode tap user 61236 && ip tuntap add dev tap1 mode tap user 61237 && "
                   "ip addr add 10.3.0.254/24 dev tap0 && ip link set tap0 up"),
            0);
  EXPECT_TRUE(Refused(host.Run({"plug", "web1", "eth0=tuntap,tap1"}), kDenied, {"tap1 is another user's"}));
  ASSERT_TRUE(Ok(host.Run({"plug", "web1", "eth0=tuntap,tap0"})));
  EXPECT_EQ(host.Describe("web1").value("confinement", ""), "STRICT");
  const char kUp[] = "ip addr add 10.3.0.1/24 dev eth0; ip link set eth0 up && ping -c 3 -W 10 10.3.0.254";
  EXPECT_EQ(host.RunInGuest("web1", kUp).exit_code, 0);
  EXPECT_EQ(host.RunInGuest("web1", "ip link set eth0 down").exit_code, 0);
  ASSERT_TRUE(Ok(host.Run({"unplug", "web1", "eth0"})));
  EXPECT_EQ(system("ip link del tap0 && ip link del tap1"), 0) << "a tap of root's was taken away";
}

}  // namespace
}  // namespace umld::tests
