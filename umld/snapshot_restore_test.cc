#include "umld/snapshot_restore.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

class SnapshotRestoreTest : public testing::Test {
 protected:
  SnapshotRestoreTest() {
    std::string path = testing::TempDir() + "/restore.XXXXXX";
    folder_ = mkdtemp(path.data());
    std::filesystem::create_directory(folder_ + "/7");
    guest_.name = "web1";
    for (uint32_t unit : {0u, 1u}) {
      const std::string disk = folder_ + "/disk" + std::to_string(unit);
      Write(disk, "now");
      Write(folder_ + (unit == 0 ? "/7/ubda" : "/7/ubdb"), "then");
      guest_.disks.push_back({.unit = unit, .path = disk, .backing = "", .flags = "", .serial = ""});
      snapshot_.disks.push_back({.unit = unit, .path = disk, .backing = ""});
    }
  }
  ~SnapshotRestoreTest() override { std::filesystem::remove_all(folder_); }

  static void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  SnapshotRestore Restore() const { return {guest_, snapshot_, folder_ + "/7", 42}; }
  size_t Files() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {})); }

  std::string folder_;
  state::GuestRow guest_;
  state::SnapshotRow snapshot_;
};

TEST_F(SnapshotRestoreTest, ReplacesAllDisksAndLeavesNothing) {
  ASSERT_EQ(chmod((folder_ + "/disk1").c_str(), 0640), 0);
  const SnapshotRestore restore = Restore();
  ASSERT_TRUE(restore.Check().ok());
  ASSERT_TRUE(restore.Stage().ok());
  EXPECT_EQ(Read(folder_ + "/disk0"), "now");
  ASSERT_TRUE(restore.Replace().ok());
  EXPECT_EQ(Read(folder_ + "/disk0"), "then");
  EXPECT_EQ(Read(folder_ + "/disk1"), "then");
  struct stat info = {};
  ASSERT_EQ(stat((folder_ + "/disk1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(info.st_nlink, 1u);
  EXPECT_EQ(Files(), 3u);
}

TEST_F(SnapshotRestoreTest, GoesOnAfterAKillBetweenTheRenames) {
  ASSERT_TRUE(Restore().Stage().ok());
  std::filesystem::rename(folder_ + "/disk0.restore-42", folder_ + "/disk0");
  ASSERT_TRUE(Restore().Replace().ok());
  EXPECT_EQ(Read(folder_ + "/disk0"), "then");
  EXPECT_EQ(Read(folder_ + "/disk1"), "then");
  EXPECT_EQ(Files(), 3u);
  ASSERT_TRUE(Restore().Replace().ok()) << "and after one behind them";
  EXPECT_EQ(Read(folder_ + "/disk1"), "then");
  EXPECT_EQ(Files(), 3u);
}

TEST_F(SnapshotRestoreTest, IfOneCannotBeReplacedNoneIs) {
  ASSERT_TRUE(Restore().Stage().ok());
  std::filesystem::remove(folder_ + "/disk1");
  std::filesystem::create_directory(folder_ + "/disk1");
  const absl::Status status = Restore().Replace();
  Restore().Discard();
  EXPECT_NE(std::string(status.message()).find("disk ubdb: replace " + folder_ + "/disk1"), std::string::npos)
      << status;
  EXPECT_EQ(Read(folder_ + "/disk0"), "now");
  EXPECT_EQ(Files(), 3u);
}

TEST_F(SnapshotRestoreTest, NoOtherFileIsReplaced) {
  guest_.disks[1].path = folder_ + "/other";
  EXPECT_EQ(GetErrorDetail(Restore().Check()).reason, "DISKS_DIFFER");
  guest_.disks[1].path = folder_ + "/disk1";
  std::filesystem::remove(folder_ + "/disk1");
  std::filesystem::create_symlink("/etc/passwd", folder_ + "/disk1");
  EXPECT_EQ(GetErrorDetail(Restore().Stage()).reason, "DISKS_DIFFER");
  Restore().Discard();
  EXPECT_EQ(Files(), 3u);
}

// Of a guest that has never been started.
TEST_F(SnapshotRestoreTest, MakesADiskThatIsNotThere) {
  std::filesystem::remove(folder_ + "/disk0");
  ASSERT_TRUE(Restore().Stage().ok());
  ASSERT_TRUE(Restore().Replace().ok());
  EXPECT_EQ(Read(folder_ + "/disk0"), "then");
  EXPECT_EQ(Files(), 3u);
}

}  // namespace
}  // namespace umld
