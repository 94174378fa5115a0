#include "devices/console/console_history.h"

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

std::string ReadAll(const ConsoleHistory& history, uint64_t offset) {
  std::string text;
  while (true) {
    ConsoleHistory::Chunk chunk = history.Read(offset, 1000);
    if (chunk.bytes.empty()) return text;
    text.append(chunk.bytes.data(), chunk.bytes.size());
    offset = chunk.offset + chunk.bytes.size();
  }
}

TEST(ConsoleHistory, BeginsEmpty) {
  ConsoleHistory history(100);
  EXPECT_EQ(history.begin_offset(), 0u);
  EXPECT_EQ(history.end_offset(), 0u);
  EXPECT_TRUE(history.Read(0, 10).bytes.empty());
  EXPECT_TRUE(history.LastLines(3).empty());
}

TEST(ConsoleHistory, OffsetsStay) {
  ConsoleHistory history(10);
  history.Append("0123456789");
  history.Append("abc");
  EXPECT_EQ(history.begin_offset(), 3u);
  EXPECT_EQ(history.end_offset(), 13u);
  ConsoleHistory::Chunk chunk = history.Read(5, 4);
  EXPECT_EQ(chunk.offset, 5u);
  EXPECT_EQ(chunk.lost, 0u);
  EXPECT_EQ(chunk.bytes, "5678");
  EXPECT_EQ(ReadAll(history, 5), "56789abc");
}

TEST(ConsoleHistory, TellsWhatIsLost) {
  ConsoleHistory history(10);
  history.Append("0123456789abc");
  ConsoleHistory::Chunk chunk = history.Read(1, 100);
  EXPECT_EQ(chunk.offset, 3u);
  EXPECT_EQ(chunk.lost, 2u);
  EXPECT_EQ(chunk.bytes, "3456789abc");
  EXPECT_EQ(history.Read(13, 100).offset, 13u);
  EXPECT_EQ(history.Read(99, 100).offset, 13u);
  EXPECT_EQ(history.Read(99, 100).lost, 0u);
}

TEST(ConsoleHistory, LastLines) {
  ConsoleHistory history(100000);
  history.Append(std::string(5000, '\n'));
  history.Append("Kernel panic - not syncing\r\n\x1b[0mreboot: ");
  EXPECT_THAT(history.LastLines(5), ::testing::ElementsAre("Kernel panic - not syncing", "reboot:"));
}

// Against the simplest model there is: the whole text.
TEST(ConsoleHistory, IsTheTailOfAllThatWasAppended) {
  unsigned seed = 1;
  for (size_t capacity : {1, 7, 4095, 4096, 4097, 20000}) {
    ConsoleHistory history(capacity);
    std::string all;
    for (int i = 0; i < 300; ++i) {
      size_t size = static_cast<size_t>(rand_r(&seed)) % (i % 50 == 0 ? 3 * capacity : 700);
      std::string piece(size, '\0');
      for (char& c : piece) c = static_cast<char>(rand_r(&seed));
      history.Append(piece);
      all += piece;
      ASSERT_EQ(history.end_offset(), all.size());
      ASSERT_EQ(history.begin_offset(), all.size() - std::min(all.size(), capacity));
      ASSERT_EQ(ReadAll(history, 0), all.substr(history.begin_offset())) << capacity << " " << i;
    }
  }
}

}  // namespace
}  // namespace umld::devices
