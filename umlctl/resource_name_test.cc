#include "umlctl/resource_name.h"

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

TEST(ResourceName, ShortAndFullAreTheSame) {
  EXPECT_EQ(*GuestName("web1"), "guests/web1");
  EXPECT_EQ(*GuestName("guests/web1"), "guests/web1");
  EXPECT_EQ(*ConsoleName("web1", "con1"), "guests/web1/consoles/con1");
  EXPECT_EQ(*ConsoleName("guests/web1", "0"), "guests/web1/consoles/con0");
  EXPECT_EQ(*ConsoleName("web1", "guests/web1/consoles/con1"), "guests/web1/consoles/con1");
  EXPECT_EQ(*NameIn("images", "tiny"), "images/tiny");
  EXPECT_EQ(*NameIn("operations", "operations/42"), "operations/42");
  EXPECT_EQ(ShortName("guests/web1/disks/ubdb"), "ubdb");
  EXPECT_EQ(ShortName("web1"), "web1");
}

TEST(ResourceName, Refuses) {
  EXPECT_FALSE(GuestName("").ok());
  EXPECT_FALSE(GuestName("guests/").ok());
  EXPECT_FALSE(GuestName("guests/a/b").ok());
  EXPECT_FALSE(GuestName("-x").ok());
  EXPECT_FALSE(ConsoleName("web1", "").ok());
  EXPECT_FALSE(ConsoleName("web1", "guests/web2/consoles/con1").ok());
  EXPECT_FALSE(NameIn("images", "a/b").ok());
}

}  // namespace
}  // namespace umld::umlctl
