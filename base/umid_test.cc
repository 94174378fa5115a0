#include "base/umid.h"

#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(Umid, TakesWhatAFolderAHostnameAndAnArgumentCanBe) {
  for (const char* text : {"web1", "a", "Web-1.example_x", "0"}) EXPECT_EQ(Umid::Parse(text)->str(), text);
  EXPECT_TRUE(Umid::Parse(std::string(64, 'a')).ok());
}

TEST(Umid, RefusesTheRest) {
  for (const char* text : {"", ".", "..", ".x", "-rf", "a/b", "a b", "a\nb", "web1,x", "\xc3\xa4"}) {
    EXPECT_EQ(Umid::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(Umid::Parse(std::string(65, 'a')).ok());
}

TEST(Umid, RandomIsValidAndDiffers) {
  EXPECT_TRUE(Umid::Parse(Umid::Random().str()).ok());
  EXPECT_FALSE(Umid::Random() == Umid::Random());
}

}  // namespace
}  // namespace umld
