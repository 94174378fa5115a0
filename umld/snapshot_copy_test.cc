#include "umld/snapshot_copy.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "base/unique_fd.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

UniqueFd NewFile() {
  std::string name = testing::TempDir() + "/copyXXXXXX";
  UniqueFd fd(mkstemp(name.data()));
  EXPECT_TRUE(fd.ok());
  unlink(name.c_str());
  return fd;
}

struct stat Stat(const UniqueFd& fd) {
  struct stat info = {};
  EXPECT_EQ(fstat(fd.get(), &info), 0);
  return info;
}

std::string Read(const UniqueFd& fd, off_t at, size_t size) {
  std::string text(size, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(pread(fd.get(), text.data(), size, at), 0)));
  return text;
}

TEST(CopySparse, KeepsContentSizeAndHoles) {
  const UniqueFd from = NewFile(), to = NewFile();
  const std::string data(3 << 20, 'x');
  const off_t far = off_t{5} << 30;
  ASSERT_EQ(pwrite(from.get(), "begin", 5, 0), 5);
  ASSERT_EQ(pwrite(from.get(), data.data(), data.size(), far), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(ftruncate(from.get(), far + (64 << 20) + 77), 0);
  ASSERT_TRUE(CopySparse(from.get(), to.get()).ok());
  EXPECT_EQ(Stat(to).st_size, Stat(from).st_size);
  EXPECT_EQ(Read(to, 0, 6), std::string("begin\0", 6));
  EXPECT_EQ(Read(to, far, data.size()), data);
  EXPECT_EQ(Read(to, far - 3, 4), std::string("\0\0\0x", 4));
  EXPECT_LT(Stat(to).st_blocks * 512, 8 << 20) << "the holes have become data";
}

TEST(CopySparse, OfNothingButAHole) {
  const UniqueFd from = NewFile(), to = NewFile();
  ASSERT_EQ(ftruncate(from.get(), 1 << 30), 0);
  ASSERT_TRUE(CopySparse(from.get(), to.get()).ok());
  EXPECT_EQ(Stat(to).st_size, 1 << 30);
  EXPECT_LT(Stat(to).st_blocks * 512, 1 << 20);
}

TEST(CopySparse, SaysWhenTheFileCannotBeWritten) {
  const UniqueFd from = NewFile();
  ASSERT_EQ(pwrite(from.get(), "text", 4, 0), 4);
  const UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_FALSE(CopySparse(from.get(), full.get()).ok());
}

}  // namespace
}  // namespace umld
