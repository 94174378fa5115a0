#include "umlctl/duration.h"

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

TEST(Duration, Parses) {
  EXPECT_EQ(*ParseDuration("10s"), absl::Seconds(10));
  EXPECT_EQ(*ParseDuration("2m"), absl::Minutes(2));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("15"), absl::Seconds(15));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
}

TEST(Duration, Refuses) {
  for (const char* text : {"", "s", "10x", "ten", "-1s", "-5", "inf", "10 s x", "99999999999999"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(Duration, ForPeople) {
  EXPECT_EQ(HumanDuration(absl::Milliseconds(900)), "0s");
  EXPECT_EQ(HumanDuration(absl::Seconds(59)), "59s");
  EXPECT_EQ(HumanDuration(absl::Seconds(303)), "5m3s");
  EXPECT_EQ(HumanDuration(absl::Minutes(124)), "2h4m");
  EXPECT_EQ(HumanDuration(absl::Hours(79)), "3d7h");
  EXPECT_EQ(HumanDuration(absl::Seconds(-3)), "0s");
}

}  // namespace
}  // namespace umld::umlctl
