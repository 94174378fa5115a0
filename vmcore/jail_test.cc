// What the jail takes and refuses. What it keeps a guest from is in tests/jail_test.cc.
#include "vmcore/jail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::vmcore {
namespace {

using testing::HasSubstr;

constexpr uid_t kGuest = 1879000001, kUser = 61234;

class JailTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to have a uid for the guest";
    char folder[] = "/tmp/jail_unit_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    ASSERT_EQ(chmod(folder, 0755), 0);
    ASSERT_EQ(chdir(folder), 0);
    absl::StatusOr<std::unique_ptr<Jail>> made = Jail::Create({kGuest, "web1"});
    ASSERT_TRUE(made.ok()) << made.status();
    jail_ = *std::move(made);
    Make("disk");
  }
  void TearDown() override {
    if (folder_.empty()) return;
    ASSERT_EQ(chdir("/"), 0);
    std::filesystem::remove_all(folder_);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  devices::FileId Make(const std::string& name) {
    std::ofstream(Path(name)) << name;
    EXPECT_EQ(chmod(Path(name).c_str(), 0600), 0);
    return Look(name);
  }
  devices::FileId Look(const std::string& name) {
    struct stat info = {};
    EXPECT_EQ(stat(Path(name).c_str(), &info), 0);
    return devices::IdOf(info);
  }
  absl::Status Show(const std::string& key, const std::string& path, const devices::FileId& id,
                    const std::optional<Credentials>& opener = std::nullopt) {
    return jail_->Show(key, path, Jail::Access::kReadWrite, Jail::Checked{opener, id});
  }

  std::string folder_;
  std::unique_ptr<Jail> jail_;
};

TEST_F(JailTest, WhatWasReplacedAfterTheLookIsNotShown) {
  const devices::FileId seen = Look("disk");
  const devices::FileId other = Make("other");
  ASSERT_EQ(rename(Path("other").c_str(), Path("disk").c_str()), 0);
  const absl::Status replaced = Show("ubda", Path("disk"), seen);
  EXPECT_TRUE(absl::IsAborted(replaced)) << replaced;
  EXPECT_EQ(GetErrorDetail(replaced).reason, "FILE_REPLACED");
  EXPECT_TRUE(Show("ubda", Path("disk"), other).ok());
  // It is shown already, under that path, and is another file than was looked at.
  const absl::Status again = Show("ubdb", Path("disk"), seen);
  EXPECT_EQ(GetErrorDetail(again).reason, "FILE_REPLACED") << again;
  EXPECT_TRUE(Show("ubdb", Path("disk"), other).ok());
}

TEST_F(JailTest, WhatLeadsElsewhereByNowIsOpenedAsWhoLooked) {
  ASSERT_EQ(mkdir(Path("shut").c_str(), 0700), 0);
  const devices::FileId secret = Make("shut/secret");
  ASSERT_EQ(symlink("shut/secret", Path("link").c_str()), 0);
  const absl::Status denied = Show("ubda", Path("link"), secret, Credentials{kUser, kUser, {}});
  EXPECT_TRUE(absl::IsPermissionDenied(denied)) << denied;
  EXPECT_TRUE(Show("ubda", Path("link"), secret).ok()) << "by ourselves it opens";
}

TEST_F(JailTest, AFileSystemThatLendsNothingIsSaid) {
  // A file of proc that is root's alone.
  const std::string path = "/proc/1/environ";
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  const absl::Status refused = Show("ubda", path, devices::IdOf(info));
  EXPECT_EQ(GetErrorDetail(refused).reason, "NO_IDMAP") << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path));
}

}  // namespace
}  // namespace umld::vmcore
