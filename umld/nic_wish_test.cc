#include "umld/nic_wish.h"

#include <string>
#include <vector>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "umld/nic_counters.h"

namespace umld {
namespace {

using devices::NicSpec;
using testing::HasSubstr;
using testing::StartsWith;

NicSpec Spec(const std::string& text) {
  auto spec = devices::ParseNicSpec(text);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.value_or(NicSpec{});
}

NicSpec Complete(const std::string& text) {
  auto spec = CompleteNic(Spec(text));
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.value_or(NicSpec{});
}

GuestView Guest(uint64_t id, const std::string& name, const std::vector<std::string>& nics) {
  GuestView view;
  view.row.id = id;
  view.row.name = name;
  for (const std::string& nic : nics) view.row.nics.push_back(ToNicRow(Spec(nic)));
  return view;
}

TEST(CompleteNic, MakesAnAddressOfOurOwn) {
  const NicSpec one = Complete("eth0=tuntap"), two = Complete("eth0=tuntap");
  EXPECT_THAT(one.mac, StartsWith("02:"));
  EXPECT_NE(one.mac, two.mac);
  EXPECT_NE(one.interface, two.interface);
  EXPECT_LE(one.interface.size(), 15U);
  // What is made is what can be asked for.
  EXPECT_EQ(Spec(devices::PrintNicSpec(one)), one);
  EXPECT_EQ(Complete("eth0=tuntap,tap0,02:00:00:00:00:01").interface, "tap0");
  EXPECT_EQ(Complete("eth0=daemon").socket, devices::kDefaultSwitchSocket);
  EXPECT_EQ(CompleteNic(Spec("eth0=vde")).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckNic, TwoGuestsShareNothing) {
  const std::vector<GuestView> guests = {Guest(1, "web1", {"eth0=tuntap,tap0,02:00:00:00:00:01"}),
                                         Guest(2, "web2", {"vec0:transport=tap,ifname=tap1,mac=02:00:00:00:00:02"})};
  auto check = [&](const std::string& text, uint64_t id) { return CheckNic(Spec(text), {}, id, guests); };
  absl::Status taken = check("eth3=tuntap,tap1,02:00:00:00:00:03", 1);
  EXPECT_EQ(GetErrorDetail(taken).reason, "TAP_IN_USE");
  EXPECT_THAT(std::string(taken.message()), HasSubstr("guest web2's vec0"));
  EXPECT_EQ(GetErrorDetail(check("eth3=mcast,02:00:00:00:00:01", 2)).reason, "MAC_IN_USE");
  EXPECT_TRUE(check("eth3=tuntap,tap3,02:00:00:00:00:03", 0).ok());
  // An interface of the host is no tap, and may be listened to by several.
  EXPECT_TRUE(check("vec3:transport=raw,ifname=tap1,mac=02:00:00:00:00:03", 0).ok());
  // Its own.
  EXPECT_TRUE(check("eth0=tuntap,tap0,02:00:00:00:00:01", 1).ok());
  const std::vector<state::NicRow> own = guests[0].row.nics;
  EXPECT_TRUE(CheckNic(Spec("eth0=tuntap,tap0,02:00:00:00:00:01"), own, 1, {}).ok());
  EXPECT_EQ(GetErrorDetail(CheckNic(Spec("eth1=tuntap,tap0,02:00:00:00:00:09"), own, 1, {})).reason, "TAP_IN_USE");
}

TEST(CheckNic, WhatOnlyTheRunningKernelHasCountsToo) {
  GuestView view = Guest(1, "web1", {});
  view.alive = true;
  view.facts.add_live_nics()->set_spec("eth0=tuntap,tap0,02:00:00:00:00:01");
  EXPECT_EQ(GetErrorDetail(CheckNic(Spec("eth0=tuntap,tap0,02:00:00:00:00:02"), {}, 2, {view})).reason, "TAP_IN_USE");
}

TEST(NicRows, AreInTheOrderOfDevices) {
  std::vector<state::NicRow> rows;
  for (const char* text : {"vec0:transport=tap", "eth10=mcast", "eth2=mcast"}) AddNicRow(&rows, ToNicRow(Spec(text)));
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].device + rows[1].device + rows[2].device, "eth2eth10vec0");
  EXPECT_EQ(FindNicRow(rows, "eth1"), nullptr);
  EXPECT_EQ(FindNicRow(rows, "vec0"), &rows[2]);
}

TEST(NicProto, BothWays) {
  for (const char* text :
       {"eth0=tuntap,tap0,02:00:00:00:00:01,192.168.0.254/24", "eth1=daemon,02:00:00:00:00:01,unix,/tmp/x",
        "eth2=mcast,02:00:00:00:00:01,239.1.1.1,1102,3", "eth3=ucast,02:00:00:00:00:01,127.0.0.1,1,2",
        "eth4=vde,/tmp/vde,02:00:00:00:00:01,3", "vec0:transport=gre,mac=02:00:00:00:00:01,dst=1.2.3.4,src=1.2.3.5"}) {
    const v1::Nic nic = NicToProto(Guest(1, "web1", {}), ToNicRow(Spec(text)), true);
    EXPECT_EQ(nic.spec(), text);
    auto back = NicFromProto(nic);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, Spec(text));
  }
  v1::Nic nic;
  nic.set_name("eth0");
  EXPECT_FALSE(NicFromProto(nic).ok());
  nic.set_transport(v1::Nic::TUNTAP);
  nic.set_host_address("10.0.0.1");
  ASSERT_TRUE(NicFromProto(nic).ok());
  EXPECT_EQ(NicFromProto(nic)->host_address, "10.0.0.1/24");
  nic.set_socket("/tmp/x");
  EXPECT_EQ(GetErrorDetail(NicFromProto(nic).status()).reason, "INVALID_NIC");
  nic.clear_socket();
  nic.set_interface("tap0,02:00:00:00:00:01");
  EXPECT_FALSE(NicFromProto(nic).ok());
}

TEST(NicCounters, AreTurnedRound) {
  const char text[] =
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
      "carrier\n"
      "    lo:  1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n"
      "  tap0: 5000000000 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n"
      "  tap01: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n";
  v1::NicCounters counters;
  ASSERT_TRUE(ReadCounters(text, "tap0", &counters));
  EXPECT_EQ(counters.sent_bytes(), 5000000000U);
  EXPECT_EQ(counters.sent_packets(), 6U);
  EXPECT_EQ(counters.received_bytes(), 7U);
  EXPECT_EQ(counters.received_packets(), 8U);
  EXPECT_FALSE(ReadCounters(text, "tap", &counters));
  EXPECT_FALSE(ReadCounters("", "tap0", &counters));
  EXPECT_FALSE(ReadCounters("tap0: 1 2 3", "tap0", &counters));
}

}  // namespace
}  // namespace umld
