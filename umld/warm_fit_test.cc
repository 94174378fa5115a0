#include "umld/warm_fit.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

vmcore::v1::Launch Typical() {
  vmcore::v1::Launch launch;
  launch.mutable_config()->add_disks()->set_unit(0);
  launch.mutable_config()->add_disks()->set_unit(3);
  return launch;
}

std::string With(const std::vector<std::string>& arguments) {
  vmcore::v1::Launch launch = Typical();
  for (const std::string& argument : arguments) launch.mutable_config()->add_kernel_args(argument);
  return ColdReason(launch);
}

TEST(ColdReasonTest, WhatAnInitReadsCanComeLater) {
  EXPECT_THAT(With({}), IsEmpty());
  EXPECT_THAT(With({"init=/bin/sh", "ro", "quiet", "systemd.unit=rescue.target", "single"}), IsEmpty());
  EXPECT_THAT(With({"root=/dev/ubdb1", "rootflags=noatime", "rootfstype=ext4"}), IsEmpty());
  EXPECT_THAT(With({"--", "panic=5", "anything"}), IsEmpty());
}

TEST(ColdReasonTest, WhatAKernelReadsWhenItBootsCannot) {
  EXPECT_THAT(With({"panic=5"}), HasSubstr("panic=5"));
  EXPECT_THAT(With({"loglevel=7"}), HasSubstr("loglevel=7"));
  EXPECT_THAT(With({"initrd=/boot/initrd"}), HasSubstr("initrd="));
  EXPECT_THAT(With({"root=UUID=1234"}), HasSubstr("root=UUID"));
  EXPECT_THAT(With({"init=/bin/sh -c \"reboot\""}), HasSubstr("init="));
  EXPECT_THAT(With({"hostfs=/srv"}), HasSubstr("hostfs"));
}

TEST(ColdReasonTest, NorWhatIsNotConfinedOrHasNoRoot) {
  vmcore::v1::Launch launch = Typical();
  launch.set_confinement(vmcore::v1::CONFINEMENT_RELAXED);
  EXPECT_THAT(ColdReason(launch), HasSubstr("confined"));
  launch = Typical();
  launch.mutable_config()->set_notify_listener("/run/listener");
  EXPECT_THAT(ColdReason(launch), HasSubstr("notify"));
  launch = Typical();
  launch.mutable_config()->mutable_disks()->RemoveLast();
  launch.mutable_config()->mutable_disks(0)->set_unit(1);
  EXPECT_THAT(ColdReason(launch), HasSubstr("root disk"));
  launch = Typical();
  launch.mutable_config()->add_consoles()->set_device("con3");
  EXPECT_THAT(ColdReason(launch), IsEmpty());
  launch.mutable_config()->add_consoles()->set_device("ssl");
  EXPECT_THAT(ColdReason(launch), HasSubstr("ssl="));
}

}  // namespace
}  // namespace umld
