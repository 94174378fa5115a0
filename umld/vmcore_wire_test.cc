#include "umld/vmcore_wire.h"

#include <string>

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using vmcore::v1::Facts;
using vmcore::v1::Frame;
using vmcore::v1::GuestConfig;

vmcore::v1::Disk Disk(uint32_t unit, const std::string& path) {
  vmcore::v1::Disk disk;
  disk.set_unit(unit);
  disk.set_path(path);
  return disk;
}

TEST(VmcoreWire, FactsHaveOnlyDevicesThatCanBe) {
  Facts facts;
  *facts.add_live_disks() = Disk(0, "/a");
  *facts.add_live_disks() = Disk(0, "/b");
  *facts.add_live_disks() = Disk(200, "/c");  // whose letter would be no character
  *facts.add_live_disks() = Disk(1, "relative");
  facts.add_live_nics()->set_spec("eth0=nonsense");
  facts.add_consoles()->set_name("con77");
  facts.add_consoles()->set_name("con1");
  Frame frames[3];
  *frames[0].mutable_reply()->mutable_facts() = facts;
  *frames[1].mutable_event()->mutable_facts() = facts;
  *frames[2].mutable_event()->mutable_rebooted()->mutable_facts() = facts;
  auto expect_clean = [](const Facts& read) {
    ASSERT_EQ(read.live_disks_size(), 1);
    EXPECT_EQ(read.live_disks(0).path(), "/a");
    EXPECT_EQ(read.live_nics_size(), 0);
    ASSERT_EQ(read.consoles_size(), 1);
    EXPECT_EQ(read.consoles(0).name(), "con1");
  };
  expect_clean(DecodeVmcoreFrame(frames[0].SerializeAsString())->reply().facts());
  expect_clean(DecodeVmcoreFrame(frames[1].SerializeAsString())->event().facts());
  expect_clean(DecodeVmcoreFrame(frames[2].SerializeAsString())->event().rebooted().facts());
  expect_clean(*DecodeVmcoreFacts(facts.SerializeAsString()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeVmcoreFrame("\xff\xff").status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeVmcoreExit("\xff\xff").status()));
}

TEST(VmcoreWire, AnErrorIsNeverOk) {
  vmcore::v1::Reply reply;
  for (const auto& [code, read] : {std::pair(0, absl::StatusCode::kUnknown),
                                   {-1, absl::StatusCode::kUnknown},
                                   {1000, absl::StatusCode::kUnknown},
                                   {5, absl::StatusCode::kNotFound}}) {
    reply.mutable_error()->set_code(code);
    reply.mutable_error()->set_hint("look");
    EXPECT_EQ(FromReply(reply).status().code(), read) << code;
    EXPECT_EQ(GetErrorDetail(FromReply(reply).status()).hint, "look");
  }
  reply.clear_error();
  EXPECT_TRUE(FromReply(reply).ok());
}

TEST(VmcoreWire, AConfigurationIsTakenAsAWholeOrNot) {
  state::GuestRow row;
  row.version = 3;
  row.disks.push_back({.unit = 1, .path = "/managed", .backing = "", .flags = "", .serial = "", .managed = true});
  GuestConfig config;
  config.set_etag(4);
  *config.add_disks() = Disk(1, "/managed");
  config.add_consoles()->set_device("con3");
  config.mutable_consoles(0)->set_channels("pts");
  config.add_nics()->set_spec("eth0=tuntap,tap7,02:00:00:00:00:01");
  ASSERT_TRUE(TakeDevices(config, &row).ok());
  EXPECT_EQ(row.version, 4U);
  ASSERT_EQ(row.disks.size(), 1U);
  EXPECT_TRUE(row.disks[0].managed);
  EXPECT_EQ(row.consoles.size(), 1U);
  EXPECT_EQ(row.nics.size(), 1U);

  const state::GuestRow before = row;
  auto refused = [&](auto&& change) {
    GuestConfig wrong = config;
    wrong.set_etag(5);
    change(wrong);
    return !TakeDevices(wrong, &row).ok() && row == before;
  };
  EXPECT_TRUE(refused([](GuestConfig& wrong) { *wrong.add_disks() = Disk(16, "/x"); }));
  EXPECT_TRUE(refused([](GuestConfig& wrong) { *wrong.add_disks() = Disk(1, "/x"); }));
  EXPECT_TRUE(refused([](GuestConfig& wrong) { wrong.add_consoles()->set_device("con99"); }));
  EXPECT_TRUE(refused([](GuestConfig& wrong) { *wrong.add_consoles() = wrong.consoles(0); }));
  EXPECT_TRUE(refused([](GuestConfig& wrong) { *wrong.add_nics() = wrong.nics(0); }));
  EXPECT_TRUE(refused([](GuestConfig& wrong) { wrong.set_etag(~uint64_t{0}); }));
}

}  // namespace
}  // namespace umld
