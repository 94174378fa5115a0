#include "devices/spec_text.h"

#include <climits>
#include <string>

#include "gtest/gtest.h"

namespace umld::devices {
namespace {

// The offset of the bad byte, -1 when there is none.
int BadByteAt(const std::string& text) {
  auto fault = FindBadByte(text, "path");
  return fault ? static_cast<int>(fault->offset) : -1;
}

TEST(SpecText, FindsTheFirstBadByte) {
  EXPECT_EQ(BadByteAt(""), -1);
  EXPECT_EQ(BadByteAt("/a b=c'd"), -1);
  EXPECT_EQ(BadByteAt("/a,b:c"), 2);
  EXPECT_EQ(BadByteAt(":"), 0);
  EXPECT_EQ(BadByteAt("/a\""), 2);
  EXPECT_EQ(BadByteAt("/\x7f"), 1);
  EXPECT_EQ(BadByteAt(std::string("/\0", 2)), 1);
}

TEST(SpecText, KnowsUtf8) {
  for (const char* good : {"\xc2\x80", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xef\xbf\xbf", "\xf0\x9f\x98\x80",
                           "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(BadByteAt(good), -1) << good;
  }
  // A lone continuation, a cut sequence, overlong forms, a surrogate, beyond U+10FFFF.
  for (const char* bad : {"\x80", "\xc3", "\xc3(", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf",
                          "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(BadByteAt(bad), 0) << bad;
  }
}

TEST(SpecText, Paths) {
  EXPECT_FALSE(FindFaultInPath("/", "path", "hint"));
  EXPECT_FALSE(FindFaultInPath("/" + std::string(PATH_MAX - 2, 'a'), "path", "hint"));
  auto reason = [](const std::string& path) {
    auto fault = FindFaultInPath(path, "path", "hint");
    return fault ? fault->reason : "accepted";
  };
  EXPECT_EQ(reason(""), "the path is empty");
  EXPECT_EQ(reason("a"), "the path is not absolute");
  EXPECT_EQ(reason("/" + std::string(PATH_MAX - 1, 'a')), "the path has 4096 bytes, and the host allows 4095");
  EXPECT_EQ(reason("/a,b"), "the path contains ','");
}

TEST(SpecText, ShowsAtMostEightyBytes) {
  EXPECT_EQ(ShowSpec(""), "\"\"");
  EXPECT_EQ(ShowSpec("a\n"), "\"a\\n\"");
  EXPECT_EQ(ShowSpec(std::string(80, 'a')), "\"" + std::string(80, 'a') + "\"");
  EXPECT_EQ(ShowSpec(std::string(81, 'a')), "\"" + std::string(80, 'a') + "...\"");
}

}  // namespace
}  // namespace umld::devices
