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

TEST(GuestSync, SeesWhatTheDisksDo) {
  const std::optional<DiskActivity> activity = ParseDiskActivity(
      "   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11\n"
      "  98       0 ubda 1154 88 9 10 40 2 3 4 1 12 13 0 0 0 0 5 6\n"
      "  98      16 ubdb 1 0 8 0 2 0 0 0 2 0 0\n");
  ASSERT_TRUE(activity.has_value());
  EXPECT_EQ(activity->done, 42U);
  EXPECT_EQ(activity->in_flight, 3U);
  for (const char* text :
       {"", "98 0 ubda 1 2", " 98 0 ubda a b c d e f g h i j k\n", "7 0 loop0 1 2 3 4 5 6 7 8 9 10 11"}) {
    EXPECT_FALSE(ParseDiskActivity(text).has_value()) << text;
  }
}

TEST(GuestSync, SeesWhoIsReadyToRun) {
  EXPECT_EQ(ParseRunning("0.08 0.02 0.01 1/39 57\n"), 1);
  EXPECT_EQ(ParseRunning("0.08 0.02 0.01 12/39 57\n"), 12);
  for (const char* text : {"", "0.08 0.02 0.01", "a b c d/e 1", "0 0 0 /1 1"}) {
    EXPECT_FALSE(ParseRunning(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace umld
