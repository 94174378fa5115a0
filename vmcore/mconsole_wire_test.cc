#include "vmcore/mconsole_wire.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace umld::vmcore {
namespace {

std::string Fragment(int32_t error, uint32_t more, uint32_t length, const std::string& text) {
  const MconsoleReplyHeader header = {error, more, length};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + text;
}

std::string Notification(uint32_t magic, uint32_t type, uint32_t length, const std::string& data) {
  const MconsoleNotifyHeader header = {magic, kMconsoleVersion, type, length};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + data;
}

TEST(MconsoleWire, FragmentsBecomeOneAnswer) {
  MconsoleAnswerReader reader;
  EXPECT_FALSE(reader.Take("short"));
  EXPECT_TRUE(reader.empty());
  EXPECT_FALSE(reader.Take(Fragment(-16, 1, 4, std::string("abc\0", 4))));
  EXPECT_TRUE(reader.Take(Fragment(0, 0, 3, std::string("d\xff\0", 3))));
  EXPECT_EQ(reader.answer().error, -16);
  EXPECT_EQ(reader.answer().text, "abcd?");
}

TEST(MconsoleWire, AnAnswerIsText) {
  MconsoleAnswerReader reader;
  const std::string text = std::string("a\n\tb\x1b[2J\r\x7f\0\x9b~", 13);
  EXPECT_TRUE(reader.Take(Fragment(0, 0, static_cast<uint32_t>(text.size()), text)));
  EXPECT_EQ(reader.answer().text, "a\n\tb?[2J????~");
}

TEST(MconsoleWire, ALengthThatClaimsTooMuchGetsWhatWasSent) {
  MconsoleAnswerReader reader;
  EXPECT_TRUE(reader.Take(Fragment(0, 0, ~0U, "abc")));
  EXPECT_EQ(reader.answer().text, "abc");
  EXPECT_EQ(ParseMconsoleNotification(Notification(kMconsoleMagic, 3, ~0U, "abc"))->data, "abc");
}

TEST(MconsoleWire, AnAnswerHasABound) {
  MconsoleAnswerReader reader;
  const std::string fragment = Fragment(0, 1, 500, std::string(500, 'x'));
  for (size_t i = 0; i < 2 * kMaxMconsoleAnswer / 500; ++i) EXPECT_FALSE(reader.Take(fragment));
  EXPECT_EQ(reader.answer().text.size(), kMaxMconsoleAnswer);
}

TEST(MconsoleWire, OnlyKernelsNotify) {
  const std::string datagram = Notification(kMconsoleMagic, 1, 3, "why");
  const auto panic = ParseMconsoleNotification(datagram);
  ASSERT_TRUE(panic.has_value());
  EXPECT_EQ(panic->type, MconsoleNotifyType::kPanic);
  EXPECT_EQ(panic->data, "why");
  EXPECT_FALSE(ParseMconsoleNotification(Notification(0xcafe, 1, 3, "why")).has_value());
  EXPECT_FALSE(ParseMconsoleNotification(Notification(kMconsoleMagic, 4, 3, "why")).has_value());
  EXPECT_FALSE(ParseMconsoleNotification("x").has_value());
}

TEST(MconsoleWire, AnAnnouncementIsANotification) {
  const std::string datagram = MconsoleAnnouncement("/run/x");
  const auto announced = ParseMconsoleNotification(datagram);
  ASSERT_TRUE(announced.has_value());
  EXPECT_EQ(announced->type, MconsoleNotifyType::kSocket);
  EXPECT_EQ(announced->data, std::string("/run/x\0", 7));
}

}  // namespace
}  // namespace umld::vmcore
