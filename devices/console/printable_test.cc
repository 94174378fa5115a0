#include "devices/console/printable.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Printable, TakesTheLastLines) {
  EXPECT_THAT(LastPrintableLines("a\r\nb\r\n\r\nc\r\n", 2), ElementsAre("b", "c"));
  EXPECT_THAT(LastPrintableLines("a\nb\nlogin: ", 9), ElementsAre("a", "b", "login:"));
  EXPECT_THAT(LastPrintableLines("a", 0), IsEmpty());
  EXPECT_THAT(LastPrintableLines("", 3), IsEmpty());
  EXPECT_THAT(LastPrintableLines("\n\n \r\n", 3), IsEmpty());
}

TEST(Printable, DropsWhatATerminalWouldObey) {
  EXPECT_THAT(LastPrintableLines("\x1b[1;31mred\x1b[0m x", 1), ElementsAre("red x"));
  EXPECT_THAT(LastPrintableLines("\x1b]0;title\aA\x1b]0;title\x1b\\B", 1), ElementsAre("AB"));
  EXPECT_THAT(LastPrintableLines("\x1b(Ba\x1b"
                                 "7b\x1b",
                                 1),
              ElementsAre("ab"));
  EXPECT_THAT(LastPrintableLines("a\x07\x08"
                                 "b\tc\x7f",
                                 1),
              ElementsAre("ab c"));
  EXPECT_THAT(LastPrintableLines(absl::string_view("a\0b", 3), 1), ElementsAre("ab"));
}

TEST(Printable, KeepsOnlyGoodUtf8) {
  EXPECT_THAT(LastPrintableLines("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7", 1),
              ElementsAre("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7"));
  EXPECT_THAT(LastPrintableLines("a\xff\xc3", 1), ElementsAre("a??"));
  EXPECT_THAT(LastPrintableLines("\xc2\x9b"
                                 "31m",
                                 1),
              ElementsAre("??31m"));  // a C1 control sequence
  EXPECT_THAT(LastPrintableLines("\xe2\x80\xae"
                                 "x",
                                 1),
              ElementsAre("???x"));  // turns the direction of writing
}

TEST(Printable, CutsLongLines) {
  EXPECT_THAT(LastPrintableLines(std::string(2000, 'x'), 1), ElementsAre(std::string(kMaxPrintableLine, 'x')));
}

TEST(Printable, AnyBytesComeOutClean) {
  unsigned seed = 1;
  for (int i = 0; i < 5000; ++i) {
    std::string text(200, '\0');
    for (char& c : text) c = static_cast<char>(rand_r(&seed) % 4 == 0 ? 0x1b : rand_r(&seed));
    for (const std::string& line : LastPrintableLines(text, 5)) {
      ASSERT_LE(line.size(), kMaxPrintableLine);
      for (char c : line) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    }
  }
}

}  // namespace
}  // namespace umld::devices
