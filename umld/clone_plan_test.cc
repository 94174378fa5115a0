#include "umld/clone_plan.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

state::DiskRow Disk(uint32_t unit, const std::string& path, const std::string& backing = "",
                    const std::string& flags = "", const std::optional<Credentials>& opener = std::nullopt) {
  state::DiskRow row;
  row.unit = unit;
  row.path = path;
  row.backing = backing;
  row.flags = flags;
  row.opener = opener;
  return row;
}

state::SnapshotDiskRow SnapshotDisk(uint32_t unit, const std::string& path, const std::string& backing) {
  state::SnapshotDiskRow row;
  row.unit = unit;
  row.path = path;
  row.backing = backing;
  return row;
}

state::GuestRow Source() {
  state::GuestRow row;
  row.id = 7;
  row.name = "web1";
  row.memory_bytes = 64 << 20;
  row.description = "a text";
  row.labels = {{"lab", "net1"}};
  row.cpu_percent = 150;
  row.disks = {Disk(0, "/s/guests/7/ubda.cow", "/s/images/x")};
  row.disks[0].managed = true;
  return row;
}

ClonePlan Plan(const state::GuestRow& source, const state::SnapshotRow* snapshot = nullptr) {
  return PlanClone(source, snapshot, "web2", VolumeCatalog("/s/volumes"));
}

TEST(ClonePlan, HasWhatTheSourceHas) {
  state::GuestRow source = Source();
  source.kernel = "kernels/six";
  source.kernel_args = {"quiet", "hostname=web1", "systemd.hostname=other"};
  source.trusted = true;
  source.consoles = {{"con3", "pts"}};
  const ClonePlan plan = Plan(source);
  EXPECT_EQ(plan.request.guest().name(), "guests/web2");
  EXPECT_EQ(plan.request.guest().memory_bytes(), 64u << 20);
  EXPECT_EQ(plan.request.guest().kernel(), "kernels/six");
  EXPECT_EQ(plan.request.guest().description(), "a text");
  EXPECT_EQ(plan.request.guest().labels().at("lab"), "net1");
  EXPECT_EQ(plan.request.guest().limits().cpu_percent(), 150u);
  EXPECT_EQ(plan.request.guest().trust(), v1::TRUSTED);
  EXPECT_EQ(plan.request.guest().confinement(), v1::STRICT);
  EXPECT_THAT(plan.request.guest().kernel_args(), ElementsAre("quiet", "hostname=web2", "systemd.hostname=other"));
  EXPECT_THAT(plan.request.console_specs(), ElementsAre("con3=pts"));
  EXPECT_THAT(plan.notes, IsEmpty());
  ASSERT_EQ(plan.disks.size(), 1u);
  EXPECT_TRUE(plan.disks[0].copied);
  EXPECT_FALSE(plan.disks[0].merged);
  EXPECT_EQ(plan.disks[0].row.backing, "/s/images/x");
  EXPECT_EQ(plan.root, 0u);
}

TEST(ClonePlan, WhatIsOneGuestsAloneStaysWithTheSource) {
  state::GuestRow source = Source();
  source.kernel_args = {"systemd.machine_id=abc"};
  source.consoles = {{"con1", "port:9000"}, {"ssl0", "tty:/dev/tty9"}, {"ssl1", "null"}};
  source.nics = {{"eth0", "eth0=tuntap,tap0,02:00:00:00:00:01,192.168.0.254/24", "02:00:00:00:00:01"},
                 {"eth1", "eth1=daemon,02:00:00:00:00:02,unix,/run/switch", "02:00:00:00:00:02"},
                 {"eth2", "eth2=ucast,02:00:00:00:00:03,10.0.0.1,4000,4001", "02:00:00:00:00:03"}};
  const ClonePlan plan = Plan(source);
  EXPECT_THAT(plan.request.console_specs(), ElementsAre("ssl1=null"));
  ASSERT_EQ(plan.request.nic_specs_size(), 2);
  EXPECT_THAT(plan.request.nic_specs(), Not(Contains(HasSubstr("02:00"))));
  EXPECT_THAT(plan.request.nic_specs(), Not(Contains(HasSubstr("tap0"))));
  EXPECT_THAT(plan.request.nic_specs(1), HasSubstr("/run/switch"));
  EXPECT_THAT(plan.request.guest().kernel_args(), IsEmpty());
  EXPECT_THAT(plan.notes, ElementsAre(HasSubstr("machine_id"), HasSubstr("port:9000"), HasSubstr("/dev/tty9"),
                                      HasSubstr("192.168.0.254"), HasSubstr("eth2: left out")));
}

TEST(ClonePlan, DisksOfUsersAndVolumesAreCopiedAndReadOnlyOnesShared) {
  state::GuestRow source = Source();
  Credentials user;
  user.uid = user.gid = 1000;
  source.disks.push_back(Disk(1, "/s/volumes/data.img"));
  source.disks.push_back(Disk(2, "/s/volumes/more.img", "", "r"));
  source.disks.push_back(Disk(3, "/home/u/raw", "", "", user));
  source.disks.push_back(Disk(4, "/home/u/cow", "/home/u/base", "", user));
  source.disks.push_back(Disk(5, "/srv/cow", "/srv/base"));
  const ClonePlan plan = Plan(source);
  ASSERT_EQ(plan.disks.size(), 6u);
  const bool copied[] = {true, true, false, true, true, true}, merged[] = {false, false, false, false, true, false};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(plan.disks[i].copied, copied[i]) << i;
    EXPECT_EQ(plan.disks[i].merged, merged[i]) << i;
  }
  EXPECT_THAT(plan.notes, ElementsAre(AllOf(HasSubstr("volume:data"), HasSubstr("no volume")), HasSubstr("/home/u/raw"),
                                      HasSubstr("what is under it"), HasSubstr("/srv/cow")));
}

TEST(ClonePlan, OfASnapshotHasItsDisks) {
  state::GuestRow source = Source();
  source.disks.push_back(Disk(1, "/srv/new"));
  source.disks.push_back(Disk(2, "/srv/ro", "", "r"));
  state::SnapshotRow snapshot;
  snapshot.disks = {SnapshotDisk(0, source.disks[0].path, source.disks[0].backing), SnapshotDisk(3, "/srv/gone", ""),
                    SnapshotDisk(4, "/srv/cow", "/srv/base")};
  const ClonePlan plan = Plan(source, &snapshot);
  ASSERT_EQ(plan.disks.size(), 4u);
  EXPECT_EQ(plan.disks[0].row, source.disks[0]);
  EXPECT_EQ(plan.disks[1].row.path, "/srv/ro");
  EXPECT_FALSE(plan.disks[0].merged);
  EXPECT_EQ(plan.disks[2].row.path, "/srv/gone");
  EXPECT_FALSE(plan.disks[2].merged);
  EXPECT_TRUE(plan.disks[3].merged) << "nobody knows who could open what is under it";
  EXPECT_THAT(plan.notes, ElementsAre(HasSubstr("/srv/gone"), HasSubstr("/srv/cow"), HasSubstr("ubdb: left out")));
}

TEST(ClonePlan, KnowsTheRootDisk) {
  state::GuestRow source = Source();
  source.kernel_args = {"root=/dev/ubdb2", "rootflags=subvol=@"};
  EXPECT_EQ(Plan(source).root, 1u);
  EXPECT_EQ(Plan(source).root_flags, "subvol=@");
  source.kernel_args = {"root=LABEL=x"};
  EXPECT_EQ(Plan(source).root, std::nullopt);
}

}  // namespace
}  // namespace umld
