#include "devices/console/console_log.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ConsoleLogTest : public ::testing::Test {
 protected:
  ConsoleLogTest() {
    std::string name = ::testing::TempDir() + "log.XXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/con0.log";
  }
  ~ConsoleLogTest() override { fs::remove_all(folder_); }

  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  std::string folder_;
  std::string path_;
  TokenBucket allowance_{ConsoleLog::kBytesPerSecond, ConsoleLog::kBurstBytes};
};

TEST_F(ConsoleLogTest, AppendsToWhatIsThere) {
  { (*ConsoleLog::Open(path_, 1000, &allowance_))->Append("one\n"); }
  { (*ConsoleLog::Open(path_, 1000, &allowance_))->Append("two\n"); }
  EXPECT_EQ(Read(path_), "one\ntwo\n");
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(ConsoleLogTest, RotatesAndKeepsOne) {
  auto log = *ConsoleLog::Open(path_, 10, &allowance_);
  log->Append("aaaaaa");
  log->Append("bbbbbb");
  EXPECT_EQ(Read(path_), "bbbbbb");
  EXPECT_EQ(Read(path_ + ".1"), "aaaaaa");
  log->Append("cccccc");
  EXPECT_EQ(Read(path_), "cccccc");
  EXPECT_EQ(Read(path_ + ".1"), "bbbbbb");
  EXPECT_FALSE(fs::exists(path_ + ".2"));
  EXPECT_EQ(log->dropped_bytes(), 0u);
}

TEST_F(ConsoleLogTest, RefusesWhatIsNoFile) {
  EXPECT_EQ(ConsoleLog::Open(folder_ + "/none/con0.log", 10, &allowance_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(ConsoleLog::Open(path_, 10, &allowance_).ok());
  fs::remove(path_);
  fs::create_symlink("/etc/passwd", path_);
  EXPECT_FALSE(ConsoleLog::Open(path_, 10, &allowance_).ok());
}

// A limit on the size of files stands in for a full disk: write fails the same way, and it needs no mount.
TEST_F(ConsoleLogTest, SurvivesAFullDisk) {
  signal(SIGXFSZ, SIG_IGN);
  auto log = *ConsoleLog::Open(path_, 1000, &allowance_);
  rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit full = {8, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  log->Append("0123456789");
  log->Append("lost too");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(log->dropped_bytes(), 10u);
  EXPECT_EQ(Read(path_), "01234567");
  log->Append("back\n");
  EXPECT_THAT(Read(path_), HasSubstr("01234567\n[umld: 10 bytes of this console are missing here: "));
  EXPECT_THAT(Read(path_), ::testing::EndsWith("]\nback\n"));
  EXPECT_EQ(log->dropped_bytes(), 10u);
}

TEST_F(ConsoleLogTest, SurvivesALostFolder) {
  auto log = *ConsoleLog::Open(path_, 10, &allowance_);
  log->Append("aaaaaa");
  fs::rename(folder_, folder_ + ".away");
  log->Append("bbbbbb");
  EXPECT_EQ(log->dropped_bytes(), 6u);
  fs::rename(folder_ + ".away", folder_);
  log->Append("cccccc");
  EXPECT_EQ(log->dropped_bytes(), 6u);
  EXPECT_THAT(Read(path_), HasSubstr("cccccc"));
}

TEST_F(ConsoleLogTest, ReopensAfterSomebodyMovedIt) {
  auto log = *ConsoleLog::Open(path_, 1000, &allowance_);
  log->Append("old");
  fs::rename(path_, folder_ + "/moved");
  ASSERT_TRUE(log->Reopen().ok());
  log->Append("new");
  EXPECT_EQ(Read(folder_ + "/moved"), "old");
  EXPECT_EQ(Read(path_), "new");
}

TEST_F(ConsoleLogTest, AFloodLeavesGapsAndNotABusyDisk) {
  using std::chrono::milliseconds;
  auto log = *ConsoleLog::Open(path_, 64 << 20, &allowance_);
  const std::string line(4096, 'x');
  auto now = TokenBucket::Clock::now();
  uint64_t printed = 0;
  // Ten seconds at some 40 MB each.
  for (int i = 0; i < 100'000; ++i) {
    log->Append(line, now);
    printed += line.size();
    if (i % 10 == 0) now += milliseconds(1);
  }
  const auto written = static_cast<double>(fs::file_size(path_));
  EXPECT_LT(written, ConsoleLog::kBurstBytes + 11 * ConsoleLog::kBytesPerSecond);
  EXPECT_GT(written, ConsoleLog::kBurstBytes + 8 * ConsoleLog::kBytesPerSecond);
  EXPECT_GT(log->dropped_bytes(), printed * 9 / 10);
  const std::string text = Read(path_);
  size_t notes = 0;
  for (size_t at = text.find("[umld: "); at != std::string::npos; at = text.find("[umld: ", at + 1)) ++notes;
  EXPECT_GE(notes, 8u);
  EXPECT_LE(notes, 11u) << "a gap is a second long, not a line";
  EXPECT_THAT(text, HasSubstr("bytes of this console are missing here: the guest prints without end]"));
  // And then it is quiet again.
  log->Append("the end\n", now + std::chrono::minutes(1));
  EXPECT_THAT(Read(path_), HasSubstr("the end\n"));
}

TEST_F(ConsoleLogTest, TheConsolesOfAGuestShareOneAllowance) {
  const std::string other_path = folder_ + "/con1.log";
  auto log = *ConsoleLog::Open(path_, 64 << 20, &allowance_);
  auto other = *ConsoleLog::Open(other_path, 64 << 20, &allowance_);
  const std::string line(4096, 'x');
  auto now = TokenBucket::Clock::now();
  // Ten seconds at some 20 MB each and console.
  for (int i = 0; i < 100'000; ++i) {
    (i % 2 == 0 ? log : other)->Append(line, now);
    if (i % 10 == 0) now += std::chrono::milliseconds(1);
  }
  const auto one = static_cast<double>(fs::file_size(path_)), two = static_cast<double>(fs::file_size(other_path));
  EXPECT_LT(one + two, ConsoleLog::kBurstBytes + 11 * ConsoleLog::kBytesPerSecond);
  EXPECT_GT(one + two, ConsoleLog::kBurstBytes + 8 * ConsoleLog::kBytesPerSecond);
  EXPECT_GT(log->dropped_bytes(), 0u);
  EXPECT_GT(other->dropped_bytes(), 0u);
}

TEST_F(ConsoleLogTest, AConsoleThatFloodsLeavesRoomForTheOthersLines) {
  auto flood = *ConsoleLog::Open(path_, 64 << 20, &allowance_);
  auto quiet = *ConsoleLog::Open(folder_ + "/con1.log", 64 << 20, &allowance_);
  const std::string block(4096, 'x'), line(80, 'y');
  auto now = TokenBucket::Clock::now();
  for (int i = 0; i < 100'000; ++i) {
    flood->Append(block, now);
    if (i % 10 == 0) now += std::chrono::milliseconds(1);
    if (i % 1000 == 0) quiet->Append(line, now);
  }
  EXPECT_GT(flood->dropped_bytes(), 0u);
  // 100 lines, and a gap takes ten of them.
  EXPECT_LE(quiet->dropped_bytes(), 20 * line.size());
}

}  // namespace
}  // namespace umld::devices
