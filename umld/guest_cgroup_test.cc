#include "umld/guest_cgroup.h"

#include "gtest/gtest.h"

namespace umld {
namespace {

constexpr char kMounts[] =
    "24 29 0:22 / /proc rw,nosuid - proc proc rw\n"
    "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";

TEST(SiblingCgroupTest, IsBesideUmldsUnit) {
  EXPECT_EQ(SiblingCgroup("0::/system.slice/umld.service\n", kMounts),
            "/sys/fs/cgroup/system.slice/umld-guests.service");
  EXPECT_EQ(SiblingCgroup("4:memory:/x\n0::/user.slice/user-7.slice/user@7.service/app.slice/umld.service\n", kMounts),
            "/sys/fs/cgroup/user.slice/user-7.slice/user@7.service/app.slice/umld-guests.service");
}

TEST(SiblingCgroupTest, ThereIsNoneWithoutTheUnitOrVersion2) {
  EXPECT_EQ(SiblingCgroup("0::/user.slice/user-0.slice/session-1.scope\n", kMounts), "");
  EXPECT_EQ(SiblingCgroup("1:memory:/system.slice/umld.service\n", kMounts), "");
  EXPECT_EQ(SiblingCgroup("0::/system.slice/umld.service\n", "31 24 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw\n"),
            "");
  EXPECT_EQ(SiblingCgroup("", ""), "");
}

}  // namespace
}  // namespace umld
