#include "vmcore/reboot_guard.h"

#include <gtest/gtest.h>

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

TEST(RebootGuardTest, ElevenInTenSecondsAreTooMany) {
  RebootGuard guard;
  RebootGuard::Time now{};
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(guard.TooMany(now += milliseconds(900)));
  EXPECT_TRUE(guard.TooMany(now += milliseconds(900)));
}

TEST(RebootGuardTest, OneEverySecondAndALittleIsFine) {
  RebootGuard guard;
  RebootGuard::Time now{};
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.TooMany(now += milliseconds(1001)));
}

}  // namespace
}  // namespace umld::vmcore
