#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

std::string TemporaryFolder() {
  std::string folder = testing::TempDir() + "/file.XXXXXX";
  return mkdtemp(folder.data());
}

TEST(File, WriteReplacesWholeAndLeavesNoTemporary) {
  std::string folder = TemporaryFolder();
  ASSERT_TRUE(WriteFileDurably(folder + "/f", "one", 0600).ok());
  ASSERT_TRUE(WriteFileDurably(folder + "/f", "two", 0600).ok());
  EXPECT_EQ(*ReadFile(folder + "/f", 100), "two");
  EXPECT_EQ(*ReadFile(folder + "/f", 2), "tw");
  ASSERT_EQ(mkdir((folder + "/g").c_str(), 0700), 0);
  EXPECT_FALSE(WriteFileDurably(folder + "/g", "x", 0600).ok());  // a folder cannot be replaced
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2);
}

TEST(File, MissingFileIsNotFound) {
  EXPECT_EQ(ReadFile("/nonexistent/x", 10).status().code(), absl::StatusCode::kNotFound);
}

TEST(File, FoldersAreMadeAndRemovedWithoutFollowingLinks) {
  std::string folder = TemporaryFolder();
  ASSERT_TRUE(WriteFileDurably(folder + "/keep", "x", 0600).ok());
  ASSERT_TRUE(MakeFolders(folder + "/a/b/c", 0700).ok());
  ASSERT_TRUE(MakeFolders(folder + "/a/b/c", 0700).ok());
  EXPECT_EQ(MakeFolders(folder + "/keep", 0700).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(symlink(folder.c_str(), (folder + "/a/b/link").c_str()), 0);
  ASSERT_TRUE(RemoveFolder(folder + "/a").ok());
  EXPECT_TRUE(std::filesystem::exists(folder + "/keep"));
  EXPECT_TRUE(RemoveFolder(folder + "/a").ok());
}

}  // namespace
}  // namespace umld
