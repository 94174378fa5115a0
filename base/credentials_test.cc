#include "base/credentials.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/unique_fd.h"

namespace umld {
namespace {

using testing::HasSubstr;

absl::Status TryOpen(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd.ok() ? absl::OkStatus() : ErrnoError(errno, "open " + path);
}

TEST(CredentialsTest, TextGoesThereAndBack) {
  const Credentials many{1000, 100, {4, 24, 1000}};
  EXPECT_EQ(many.ToText(), "1000:100:4,24,1000");
  EXPECT_EQ(*Credentials::Parse(many.ToText()), many);
  const Credentials alone{5, 6, {}};
  EXPECT_EQ(*Credentials::Parse(alone.ToText()), alone);
}

TEST(CredentialsTest, OtherTextIsRefused) {
  for (const char* text : {"", "1", "1:2", "1:2:3:4", "a:2:", "1:2:x", "1:2:,", "1:2:3,", "-1:2:", "4294967296:2:"}) {
    EXPECT_FALSE(Credentials::Parse(text).ok()) << text;
  }
}

TEST(CredentialsTest, NobodyIsOurselves) {
  ASSERT_TRUE(ActingUser::Become(std::nullopt).ok());
  EXPECT_TRUE(ActAs(std::nullopt, [] { return TryOpen("/"); }).ok());
}

class ActAsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can act for others";
    char folder[] = "/tmp/credentials_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    ASSERT_EQ(chmod(folder, 0755), 0);
    secret_ = folder_ + "/secret";
    ASSERT_TRUE(UniqueFd(open(secret_.c_str(), O_WRONLY | O_CREAT, 0600)).ok());
  }
  void TearDown() override {
    if (folder_.empty()) return;
    unlink(secret_.c_str());
    unlink((folder_ + "/theirs").c_str());
    rmdir(folder_.c_str());
  }
  void Own(uid_t uid, gid_t gid, mode_t mode) {
    ASSERT_EQ(chown(secret_.c_str(), uid, gid), 0);
    ASSERT_EQ(chmod(secret_.c_str(), mode), 0);
  }
  std::string folder_, secret_;
  const Credentials them_{4321, 4322, {4323}};
};

// A process may stand where they could not come: root's own way there is not theirs.
TEST_F(ActAsTest, NoProcessLeadsPastClosedFolders) {
  ASSERT_EQ(chmod(folder_.c_str(), 0700), 0);
  const std::string inner = folder_ + "/inner";
  ASSERT_EQ(mkdir(inner.c_str(), 0755), 0);
  ASSERT_TRUE(UniqueFd(open((inner + "/file").c_str(), O_WRONLY | O_CREAT, 0644)).ok());
  const UniqueFd here(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(chdir(inner.c_str()), 0);
  const pid_t child = fork();
  if (child == 0) {
    while (true) pause();
  }
  ASSERT_EQ(fchdir(here.get()), 0);
  const std::string there = "/proc/" + std::to_string(child) + "/cwd/file";
  EXPECT_TRUE(TryOpen(there).ok());
  const absl::Status refused = ActAs(them_, [&] { return TryOpen(there); });
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_TRUE(TryOpen(there).ok()) << "we are ourselves again";
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  unlink((inner + "/file").c_str());
  rmdir(inner.c_str());
}

TEST_F(ActAsTest, HasTheirPermissionsAndNotOurs) {
  ASSERT_TRUE(TryOpen(secret_).ok());
  const absl::Status refused = ActAs(them_, [&] { return TryOpen(secret_); });
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("for uid 4321: open " + secret_));
  ASSERT_TRUE(TryOpen(secret_).ok()) << "we are ourselves again";

  Own(4321, 0, 0600);
  EXPECT_TRUE(ActAs(them_, [&] { return TryOpen(secret_); }).ok()) << "their uid";
  Own(0, 4322, 0640);
  EXPECT_TRUE(ActAs(them_, [&] { return TryOpen(secret_); }).ok()) << "their gid";
  Own(0, 4323, 0640);
  EXPECT_TRUE(ActAs(them_, [&] { return TryOpen(secret_); }).ok()) << "a group of theirs";
}

TEST_F(ActAsTest, OurOwnGroupsDoNotCount) {
  Own(1, getegid(), 0040);
  EXPECT_FALSE(ActAs(them_, [&] { return TryOpen(secret_); }).ok());
}

TEST_F(ActAsTest, WhatIsMadeIsTheirs) {
  ASSERT_EQ(chmod(folder_.c_str(), 0777), 0);
  const std::string path = folder_ + "/theirs";
  const absl::Status made = ActAs(them_, [&] {
    return UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600)).ok() ? absl::OkStatus()
                                                                                : ErrnoError(errno, path);
  });
  ASSERT_TRUE(made.ok()) << made;
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 4321u);
  EXPECT_EQ(info.st_gid, 4322u);
}

TEST_F(ActAsTest, OtherThreadsStayThemselves) {
  const absl::Status other = ActAs(them_, [&] {
    EXPECT_FALSE(TryOpen(secret_).ok());
    return absl::OkStatus();
  });
  ASSERT_TRUE(other.ok());
  absl::Status beside;
  std::atomic<bool> acting = false, looked = false;
  std::thread thread([&] {
    while (!acting) std::this_thread::yield();
    beside = TryOpen(secret_);
    looked = true;
  });
  ASSERT_TRUE(ActAs(them_, [&] {
                acting = true;
                while (!looked) std::this_thread::yield();
                return absl::OkStatus();
              }).ok());
  thread.join();
  EXPECT_TRUE(beside.ok()) << beside;
}

}  // namespace
}  // namespace umld
