#include "umld/log_reader.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
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
    for (LogReader::Part part = *reader.Next(); !part.data.empty(); part = *reader.Next()) all += part.data;
    return all;
  }
  // What another reader gets after `position`, and whether it says that something may be missing.
  std::pair<std::string, bool> After(const std::string& position) const {
    LogReader reader(path_);
    EXPECT_TRUE(reader.StartAfter(position).ok());
    const LogReader::Part first = *reader.Next();
    return {first.data + ReadAll(reader), first.gap};
  }
  std::string PositionOfAll() const {
    LogReader reader(path_);
    EXPECT_TRUE(reader.Start(0).ok());
    std::string position;
    for (LogReader::Part part = *reader.Next(); !part.data.empty(); part = *reader.Next()) position = part.position;
    return position;
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
  EXPECT_EQ(reader.Next()->data, "");
  Append("first\n");
  EXPECT_EQ(ReadAll(reader), "first\n");
}

TEST_F(LogReaderTest, OneThatWasOvertakenSaysSo) {
  Append("one\n");
  LogReader reader(path_);
  ASSERT_TRUE(reader.Start(0).ok());
  EXPECT_EQ(ReadAll(reader), "one\n");
  Append("the rest of it\n");
  Rotate();
  Append("two\n");
  Rotate();
  Append("three\n");
  const LogReader::Part rest = *reader.Next();
  EXPECT_EQ(rest.data, "the rest of it\n");
  EXPECT_FALSE(rest.gap);
  const LogReader::Part next = *reader.Next();
  EXPECT_EQ(next.data, "two\n");
  EXPECT_TRUE(next.gap);
  const LogReader::Part last = *reader.Next();
  EXPECT_EQ(last.data, "three\n");
  EXPECT_FALSE(last.gap);
}

TEST_F(LogReaderTest, ASlowReaderOfTheOldFileMissesNothingOfTheNext) {
  Append(std::string(40'000, 'a'));
  Rotate();
  Append("b");
  LogReader reader(path_);
  ASSERT_TRUE(reader.Start(0).ok());
  EXPECT_EQ(reader.Next()->data, std::string(32'768, 'a'));
  Rotate();
  Append("c");
  EXPECT_EQ(ReadAll(reader), std::string(40'000 - 32'768, 'a') + "bc");
}

TEST_F(LogReaderTest, AnotherGoesOnAtItsPosition) {
  Append("tick\ntick\n");
  const std::string position = PositionOfAll();
  EXPECT_EQ(After(position), std::make_pair(std::string(), false));
  Append("tick\n");
  EXPECT_EQ(After(position), std::make_pair(std::string("tick\n"), false));
  Rotate();
  EXPECT_EQ(After(position), std::make_pair(std::string("tick\n"), false));
  Append("tock\n");
  EXPECT_EQ(After(position), std::make_pair(std::string("tick\ntock\n"), false));
}

TEST_F(LogReaderTest, APositionThatIsNotKeptAnyMoreIsAGap) {
  Append("one\n");
  const std::string position = PositionOfAll();
  Rotate();
  Append("two\n");
  // Births are told to a tick of the kernel's clock, in which nobody fills two logs.
  absl::SleepFor(absl::Milliseconds(30));
  Rotate();
  // The file system may give the number of the file that is gone to this one.
  Append("three\n");
  EXPECT_EQ(After(position), std::make_pair(std::string("two\nthree\n"), true));
  // Nor is one within a file that has become shorter.
  const std::string end = PositionOfAll();
  std::ofstream(path_, std::ios::trunc) << "new\n";
  EXPECT_EQ(After(end), std::make_pair(std::string("two\nnew\n"), true));
}

TEST_F(LogReaderTest, WhatIsNoPositionIsRefused) {
  Append("one\n");
  for (const char* position : {"", "7", "1.2", "1.2.3.4", "1.2.-3", "x.2.3", "99999999999999999999.2.3"}) {
    LogReader reader(path_);
    EXPECT_EQ(reader.StartAfter(position).code(), absl::StatusCode::kInvalidArgument) << position;
  }
}

}  // namespace
}  // namespace umld
