#include "base/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(Utf8, KeepsWhatIsText) {
  for (const char* text :
       {"", "plain", "line\nline\tend", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\xa7", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
    EXPECT_EQ(ToText(text), text);
  }
}

TEST(Utf8, RefusesWhatIsNone) {
  for (const char* bytes : {"\xff", "\x80", "\xc3", "\xc3(", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                            "\xf4\x90\x80\x80", "\xf0\x80\x80\xaf", "\xe2\x82"}) {
    EXPECT_FALSE(IsUtf8(bytes)) << bytes;
    EXPECT_TRUE(IsUtf8(ToText(bytes)));
  }
  EXPECT_EQ(ToText("a\xff"
                   "b\xc3(\xe2\x82"),
            "a?b?(??");
}

TEST(Utf8, ControlsAreNoText) {
  EXPECT_EQ(ToText(std::string("a\0\x1b[31m\x7f\xc2\x9b", 10)), "a??[31m??");
  EXPECT_TRUE(IsUtf8("\x1b"));
}

}  // namespace
}  // namespace umld
