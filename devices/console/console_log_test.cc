#include "devices/console/console_log.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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
};

TEST_F(ConsoleLogTest, AppendsToWhatIsThere) {
  { (*ConsoleLog::Open(path_, 1000))->Append("one\n"); }
  { (*ConsoleLog::Open(path_, 1000))->Append("two\n"); }
  EXPECT_EQ(Read(path_), "one\ntwo\n");
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(ConsoleLogTest, RotatesAndKeepsOne) {
  auto log = *ConsoleLog::Open(path_, 10);
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
  EXPECT_EQ(ConsoleLog::Open(folder_ + "/none/con0.log", 10).status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(ConsoleLog::Open(path_, 10).ok());
  fs::remove(path_);
  fs::create_symlink("/etc/passwd", path_);
  EXPECT_FALSE(ConsoleLog::Open(path_, 10).ok());
}

// A limit on the size of files stands in for a full disk: write fails the same way, and it needs no mount.
TEST_F(ConsoleLogTest, SurvivesAFullDisk) {
  signal(SIGXFSZ, SIG_IGN);
  auto log = *ConsoleLog::Open(path_, 1000);
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
  auto log = *ConsoleLog::Open(path_, 10);
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
  auto log = *ConsoleLog::Open(path_, 1000);
  log->Append("old");
  fs::rename(path_, folder_ + "/moved");
  ASSERT_TRUE(log->Reopen().ok());
  log->Append("new");
  EXPECT_EQ(Read(folder_ + "/moved"), "old");
  EXPECT_EQ(Read(path_), "new");
}

}  // namespace
}  // namespace umld::devices
