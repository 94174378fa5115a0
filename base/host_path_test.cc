#include "base/host_path.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(HostPath, NoneLeadsThroughAnothersEyes) {
  char folder[] = "/tmp/host_path_test.XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/file", link = std::string(folder) + "/link";
  std::ofstream(file) << "x";
  const UniqueFd here(open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC));
  const std::string self = "/proc/self/";
  struct stat info = {}, other = {};
  for (const std::string& path : {self + "root" + file, self + "fd/" + std::to_string(here.get()) + "/file"}) {
    std::filesystem::remove(link);
    std::filesystem::create_symlink(path, link);
    for (const std::string& name : {path, link}) {
      EXPECT_EQ(stat(name.c_str(), &info), 0) << "it is there: " << name;
      errno = 0;
      EXPECT_FALSE(StatHostPath(name, &info)) << name;
      EXPECT_EQ(errno, ELOOP) << name;
      EXPECT_FALSE(OpenHostPath(name, O_RDONLY | O_CLOEXEC).ok()) << name;
    }
  }
  // Other links do.
  std::filesystem::remove(link);
  std::filesystem::create_symlink("file", link);
  ASSERT_TRUE(StatHostPath(link, &info));
  ASSERT_TRUE(StatHostPath(file, &other));
  EXPECT_EQ(info.st_ino, other.st_ino);
  EXPECT_TRUE(OpenHostPath(link, O_RDONLY | O_CLOEXEC).ok());
  EXPECT_TRUE(OpenHostPath("/proc/version", O_RDONLY | O_CLOEXEC).ok());
  EXPECT_FALSE(StatHostPath(file + "2", &info));
  EXPECT_EQ(errno, ENOENT);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace umld
