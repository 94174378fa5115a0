#include "devices/console/telnet.h"

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace umld::devices {
namespace {

struct Heard {
  std::string input, reply;
};

Heard Receive(Telnet* telnet, const std::string& bytes) {
  Heard heard;
  telnet->Receive(bytes, &heard.input, &heard.reply);
  return heard;
}

// Of bytes that hold zeros.
template <size_t n>
std::string Bytes(const char (&text)[n]) {
  return std::string(text, n - 1);
}

TEST(TelnetTest, PlainBytesPassAsTheyAre) {
  Telnet nc;
  const std::string text = Bytes("root\nls -l\r\n\x7f\0x\r\0y");
  Heard heard = Receive(&nc, text);
  EXPECT_EQ(heard.input, text);
  EXPECT_EQ(heard.reply, "");
  EXPECT_EQ(nc.Encode("caf\xc3\xa9 \xff"), "caf\xc3\xa9 \xff");
}

TEST(TelnetTest, AClientThatAgreesIsNotAnsweredAgain) {
  Telnet telnet;
  // What the greeting asks for, granted.
  Heard heard = Receive(&telnet, "\xff\xfd\x01\xff\xfd\x03\xff\xfb\x1f");
  EXPECT_EQ(heard.input, "");
  EXPECT_EQ(heard.reply, "");
  EXPECT_EQ(telnet.Encode("a\xff"), "a\xff\xff");
}

TEST(TelnetTest, WhatWeDoNotHaveIsRefused) {
  Telnet telnet;
  // WILL TERMINAL-TYPE, WILL TERMINAL-SPEED, DO STATUS, WONT and DONT need no answer.
  Heard heard = Receive(&telnet, "\xff\xfb\x18\xff\xfb\x20\xff\xfd\x05\xff\xfc\x21\xff\xfe\x01");
  EXPECT_EQ(heard.reply, "\xff\xfe\x18\xff\xfe\x20\xff\xfc\x05");
}

TEST(TelnetTest, EnterIsOneCarriageReturn) {
  Telnet telnet;
  Receive(&telnet, "\xff\xfd\x01");
  EXPECT_EQ(Receive(&telnet, Bytes("root\r\0ls\r\nx\ry")).input, "root\rls\rx\ry");
  // Also when the two halves come apart.
  EXPECT_EQ(Receive(&telnet, "a\r").input, "a\r");
  EXPECT_EQ(Receive(&telnet, Bytes("\0b")).input, "b");
}

TEST(TelnetTest, TellsTheWindowsSize) {
  Telnet telnet;
  uint16_t rows = 0, columns = 0;
  EXPECT_FALSE(telnet.TakeSize(&rows, &columns));
  // 255 columns: the byte is doubled.
  Receive(&telnet, Bytes("\xff\xfb\x1f\xff\xfa\x1f\0\xff\xff\0\x28\xff\xf0"));
  ASSERT_TRUE(telnet.TakeSize(&rows, &columns));
  EXPECT_EQ(rows, 40);
  EXPECT_EQ(columns, 255);
  EXPECT_FALSE(telnet.TakeSize(&rows, &columns));
  // Nonsense is no size.
  Receive(&telnet, Bytes("\xff\xfa\x1f\0\0\0\0\xff\xf0"));
  Receive(&telnet, Bytes("\xff\xfa\x1f\0\x50\xff\xf0"));
  EXPECT_FALSE(telnet.TakeSize(&rows, &columns));
}

TEST(TelnetTest, CommandsBecomeKeys) {
  Telnet telnet;
  EXPECT_EQ(Receive(&telnet, "a\xff\xf4z\xff\xf7\xff\xf8").input, "a\003z\177\025");
  EXPECT_EQ(Receive(&telnet, "\xff\xff").input, "\xff");
  EXPECT_EQ(Receive(&telnet, "\xff\xf6").reply, "\r\n[umld: yes]\r\n");
}

// However the bytes are cut, the same arrives; and no input makes it grow or hang.
TEST(TelnetTest, PiecesMakeNoDifference) {
  std::mt19937 random(20261125);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int i = 0; i < 200; ++i) {
      static constexpr unsigned char kLikely[] = {255, 255, 250, 240, 251, 253, 31, 1, 3, 0, '\r', '\n', 'a'};
      bytes.push_back(static_cast<char>(random() % 3 == 0 ? random() % 256 : kLikely[random() % sizeof(kLikely)]));
    }
    Telnet whole, parts;
    Heard at_once = Receive(&whole, bytes), piecemeal;
    for (char c : bytes) parts.Receive(std::string(1, c), &piecemeal.input, &piecemeal.reply);
    EXPECT_EQ(at_once.input, piecemeal.input);
    EXPECT_EQ(at_once.reply, piecemeal.reply);
    EXPECT_LE(at_once.reply.size(), bytes.size() * 15);
  }
}

}  // namespace
}  // namespace umld::devices
