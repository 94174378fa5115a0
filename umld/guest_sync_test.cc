#include "umld/guest_sync.h"

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(GuestSync, ReadsHowMuchAKernelSays) {
  const std::optional<PrintkLevels> levels = ParsePrintkLevels("4\t5\t1\t7\n");
  ASSERT_TRUE(levels.has_value());
  EXPECT_EQ(levels->console, 4);
  EXPECT_EQ(levels->messages, 5);
}

// A guest says this.
TEST(GuestSync, DoesNotTakeOtherTextForLevels) {
  for (const char* text : {"", "4", "x y", "4 -1", "-4 4", "99999999999 4"}) {
    EXPECT_FALSE(ParsePrintkLevels(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace umld
