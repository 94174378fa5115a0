#include "umld/log_reader.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

class LogReaderTest : public testing::Test {
 protected:
  LogReaderTest() {
    std::string folder = testing::TempDir() + "/log.XXXXXX";
    path_ = std::string(mkdtemp(folder.data())) + "/con0.log";
  }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  void Rotate() { ASSERT_EQ(std::rename(path_.c_str(), (path_ + ".1").c_str()), 0); }
  static std::string ReadAll(LogReader& reader) {
    std::string all;
    for (std::string chunk = *reader.Next(); !chunk.empty(); chunk = *reader.Next()) all += chunk;
    return all;
  }
  std::string path_;
};

TEST_F(LogReaderTest, ReadsTheOldFileFirstThenFollows) {
  Append("one\n");
  Rotate();
  Append("two\n");
  LogReader reader(path_);
  ASSERT_TRUE(reader.Start(0).ok());
  EXPECT_EQ(ReadAll(reader), "one\ntwo\n");
  Append("three\n");
  EXPECT_EQ(ReadAll(reader), "three\n");
}

TEST_F(LogReaderTest, GoesOnThroughARotationWithoutLossOrRepeat) {
  Append("one\n");
  LogReader reader(path_);
  ASSERT_TRUE(reader.Start(0).ok());
  EXPECT_EQ(ReadAll(reader), "one\n");
  Append("two\n");
  Rotate();
  Append("three\n");
  EXPECT_EQ(ReadAll(reader), "two\nthree\n");
}

TEST_F(LogReaderTest, LastLinesReachIntoTheOldFile) {
  Append("a\nb\nc\n");
  Rotate();
  Append("d\n");
  for (auto [lines, expected] : {std::pair<uint32_t, const char*>{1, "d\n"}, {2, "c\nd\n"}, {9, "a\nb\nc\nd\n"}}) {
    LogReader reader(path_);
    ASSERT_TRUE(reader.Start(lines).ok());
    EXPECT_EQ(ReadAll(reader), expected);
  }
}

TEST_F(LogReaderTest, ALogThatIsNotThereYetIsEmpty) {
  LogReader reader(path_);
  ASSERT_TRUE(reader.Start(0).ok());
  EXPECT_EQ(*reader.Next(), "");
  Append("first\n");
  EXPECT_EQ(ReadAll(reader), "first\n");
}

}  // namespace
}  // namespace umld
