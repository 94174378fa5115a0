#include "umlctl/printable.h"

#include <string>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

TEST(Printable, TextPasses) {
  EXPECT_EQ(Printable("Linux version 6.1\n\tok \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\xa7"),
            "Linux version 6.1\n\tok \xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\xa7");
  EXPECT_EQ(Printable("a\r\nb\r\r\nc"), "a\nb\nc");
}

TEST(Printable, SequencesDoNotReachTheTerminal) {
  EXPECT_EQ(Printable("\033[0;32mOK\033[0m\033[2J\033[1;1H"), "OK");
  EXPECT_EQ(Printable("\033]0;title\007"), "^[]0;title^G");
  EXPECT_EQ(Printable("\033c\033P1q\033\\"), "^[c^[P1q^[\\");
  EXPECT_EQ(Printable("a\bb\177"), "a^Hb^?");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "2J"),
            "^[2J");
  EXPECT_EQ(Printable("\x9b"
                      "2J"),
            "?2J");
  EXPECT_EQ(Printable("over\rwrite"), "over^Mwrite");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a^@b");
}

TEST(Printable, BrokenUtf8IsMarked) {
  EXPECT_EQ(Printable("\xff\xc0\x80 \xe2\x82x \xed\xa0\x80"), "??? ?x ???");
  EXPECT_EQ(Printable("\xe2\x82"), "?");
}

TEST(Printable, ASequenceWithoutEndHidesNothing) {
  const std::string long_text = "\033[" + std::string(100, '1');
  EXPECT_EQ(Printable(long_text), "^[[" + std::string(100, '1'));
  EXPECT_EQ(Printable("\033[12\033[3mx"), "^[[12x");
  EXPECT_EQ(Printable("end\033["), "end^[[");
}

TEST(Printable, PiecesGiveTheSame) {
  const std::string text = "\033[31mr\xe2\x82\xac\r\n\033]x\r\r\nz\033[";
  PrintableStream stream;
  std::string out;
  for (char c : text) out += stream.Feed(absl::string_view(&c, 1));
  out += stream.Finish();
  EXPECT_EQ(out, Printable(text));
}

TEST(Printable, Line) { EXPECT_EQ(PrintableLine("a\nb\tc\033[1m"), "a b c"); }

}  // namespace
}  // namespace umld::umlctl
