#include "vmcore/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"

namespace umld::vmcore {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

class LineLogTest : public testing::Test {
 protected:
  LineLogTest() {
    std::string name = testing::TempDir() + "log_test.XXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/vmcore.log";
    fd_.reset(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  }
  ~LineLogTest() override { fs::remove_all(folder_); }

  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path_, std::ios::binary).rdbuf();
    return text.str();
  }
  static size_t Count(const std::string& text, const std::string& word) {
    size_t count = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
    return count;
  }

  std::string folder_, path_;
  UniqueFd fd_;
  TokenBucket::Clock::time_point now_ = TokenBucket::Clock::now();
};

TEST_F(LineLogTest, ALineHasTimeAndName) {
  LineLog log(fd_.get());
  log.SetName("web1");
  log.Append("started kernel 4711", now_);
  EXPECT_THAT(Read(), testing::MatchesRegex("....-..-..T..:..:..[.]...Z web1: started kernel 4711\n"));
  log.Append(std::string(100'000, 'x'), now_);
  EXPECT_LT(fs::file_size(path_), LineLog::kMaxMessageBytes + 200) << "a line is cut";
}

TEST_F(LineLogTest, AFullFileBeginsAnewAndSaysSo) {
  LineLog log(fd_.get());
  log.BoundFile();
  const std::string padding(100, 'x');
  int begun = 0;
  uint64_t before = 0;
  // 3 MB, slowly enough that no line is dropped.
  for (int i = 0; i < 20'000; ++i) {
    log.Append(absl::StrCat("line ", i, " ", padding), now_ += seconds(1));
    const uint64_t size = fs::file_size(path_);
    ASSERT_LE(size, LineLog::kMaxFileBytes);
    if (size < before) ++begun;
    before = size;
  }
  EXPECT_EQ(begun, 2);
  const std::string text = Read();
  EXPECT_THAT(text.substr(0, text.find('\n')), EndsWith("Z vmcore: this log was full and begins anew"));
  EXPECT_EQ(Count(text, "begins anew"), 1u);
  EXPECT_THAT(text, HasSubstr(absl::StrCat("line 19999 ", padding, "\n")));
  EXPECT_THAT(text, Not(HasSubstr("missing")));
  EXPECT_THAT(text, Not(HasSubstr(std::string(1, '\0')))) << "a hole";
}

TEST_F(LineLogTest, AFileThatMayBeAnotherProgramsIsNotEmptied) {
  fs::resize_file(path_, 2 * LineLog::kMaxFileBytes);
  LineLog log(fd_.get());
  log.Append("cannot run", now_);
  EXPECT_GT(fs::file_size(path_), 2 * LineLog::kMaxFileBytes);
}

TEST_F(LineLogTest, TooManyLinesAreDroppedAndCounted) {
  LineLog log(fd_.get());
  constexpr int kLines = 10'000;
  for (int i = 0; i < kLines; ++i) log.Append("the same again", now_);
  const std::string flood = Read();
  EXPECT_LE(static_cast<double>(flood.size()), LineLog::kBurstBytes);
  EXPECT_GT(static_cast<double>(flood.size()), LineLog::kBurstBytes - 100);
  EXPECT_THAT(flood, EndsWith("the same again\n"));
  // A second later there would be room for some lines, but not yet for more than a few.
  log.Append("dropped too", now_ + seconds(1));
  EXPECT_EQ(Read(), flood);

  log.Append("the end", now_ + seconds(60));
  log.Append("after it", now_ + seconds(60));
  const size_t missing = kLines - Count(flood, "the same again\n") + 1;
  EXPECT_THAT(Read().substr(flood.size()),
              testing::MatchesRegex(absl::StrCat("[^\n]* vmcore: ", missing,
                                                 " lines are missing here: there were too many\n"
                                                 "[^\n]* vmcore: the end\n[^\n]* vmcore: after it\n")));
}

TEST_F(LineLogTest, AFloodThatDoesNotEndWritesAtItsRate) {
  LineLog log(fd_.get());
  constexpr int kSeconds = 600;
  for (int i = 0; i < kSeconds * 100; ++i) log.Append("the same again", now_ += std::chrono::milliseconds(10));
  const std::string text = Read();
  const auto size = static_cast<double>(text.size());
  // The lines that count what is missing come on top.
  EXPECT_LT(size, LineLog::kBurstBytes + 1.1 * kSeconds * LineLog::kBytesPerSecond);
  EXPECT_GT(size, LineLog::kBurstBytes + 0.8 * kSeconds * LineLog::kBytesPerSecond);
  const size_t notes = Count(text, " lines are missing here");
  EXPECT_GE(notes, 10u);
  EXPECT_LE(notes, 25u) << "a gap is half a minute long, not a line";
}

}  // namespace
}  // namespace umld::vmcore
