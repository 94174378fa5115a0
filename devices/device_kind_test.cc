#include "devices/device_kind.h"

#include "gtest/gtest.h"

namespace umld::devices {
namespace {

TEST(DeviceKindTest, GoesByTheFirstLetters) {
  EXPECT_EQ(KindOfDevice("ubdb=/srv/swap"), DeviceKind::kDisk);
  EXPECT_EQ(KindOfDevice("ubd1"), DeviceKind::kDisk);
  EXPECT_EQ(KindOfDevice("con3=port:9000"), DeviceKind::kConsole);
  EXPECT_EQ(KindOfDevice("ssl0"), DeviceKind::kConsole);
  EXPECT_EQ(KindOfDevice("eth0=tuntap,tap0"), DeviceKind::kNic);
  EXPECT_EQ(KindOfDevice("vec0:transport=tap"), DeviceKind::kNic);
  EXPECT_EQ(KindOfDevice("mem=-64M"), DeviceKind::kMemory);
  EXPECT_EQ(KindOfDevice("UBDB"), DeviceKind::kUnknown);
  EXPECT_EQ(KindOfDevice("ub"), DeviceKind::kUnknown);
  EXPECT_EQ(KindOfDevice(""), DeviceKind::kUnknown);
}

}  // namespace
}  // namespace umld::devices
