#include "guest/tiny_image.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/process.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guest/tiny_files.h"

namespace umld::guest {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class TinyImageTest : public ::testing::Test {
 protected:
  TinyImageTest() {
    std::string name = "/tmp/tiny.XXXXXX";
    folder_ = mkdtemp(name.data());
    image_ = folder_ + "/tiny.img";
  }
  ~TinyImageTest() override { fs::remove_all(folder_); }

  std::vector<std::string> FilesLeft() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }
  static std::string Output(const std::vector<std::string>& argv, int exit_code = 0) {
    auto result = RunCommand(argv, std::chrono::seconds(30));
    if (!result.ok()) {
      ADD_FAILURE() << result.status();
      return "";
    }
    EXPECT_EQ(result->exit_code, exit_code) << result->output;
    return result->output;
  }
  std::string Debugfs(const std::string& command) const { return Output({"/usr/sbin/debugfs", "-R", command, image_}); }

  std::string folder_;
  std::string image_;
};

TEST_F(TinyImageTest, IsAWholeFilesystemOwnedByRoot) {
  if (access(kDefaultBusybox, X_OK) != 0) GTEST_SKIP() << "busybox-static is not installed";
  std::vector<int> percents;
  mode_t old_umask = umask(0077);
  absl::Status status = BuildTinyImage(kDefaultBusybox, image_, [&percents](int percent, const std::string& what) {
    EXPECT_FALSE(what.empty());
    percents.push_back(percent);
  });
  umask(old_umask);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(std::is_sorted(percents.begin(), percents.end()));
  EXPECT_EQ(percents.front(), 0);
  EXPECT_EQ(percents.back(), 100);
  EXPECT_THAT(FilesLeft(), ::testing::ElementsAre("tiny.img"));

  struct stat info = {};
  ASSERT_EQ(stat(image_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0444u);
  EXPECT_LT(info.st_blocks * 512, 8 << 20);
  Output({"/usr/sbin/e2fsck", "-f", "-n", image_});

  EXPECT_THAT(Debugfs("stat /dev/console"), HasSubstr("character special"));
  EXPECT_THAT(Debugfs("stat /dev/ubdb"), HasSubstr("Device major/minor number: 98:16"));
  EXPECT_THAT(Debugfs("stat /sbin/init"), HasSubstr("/bin/busybox"));
  EXPECT_THAT(Debugfs("stat /tmp"), HasSubstr("Mode:  01777"));
  EXPECT_THAT(Debugfs("stat /etc/init.d/rcS"), HasSubstr("Mode:  0755"));
  EXPECT_THAT(Debugfs("stat /etc/inittab"), HasSubstr("Mode:  0644"));
  for (const EmbeddedFile& file : TinyFiles()) {
    EXPECT_THAT(Debugfs("cat " + file.path), ::testing::EndsWith(file.content)) << file.path;
  }
}

// Built by another user than root, it is still root's.
TEST_F(TinyImageTest, NeedsNoRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "every other test here runs as a normal user then";
  ASSERT_EQ(chown(folder_.c_str(), 65534, 65534), 0);
  // A process of its own: a user id once given up for real does not come back.
  pid_t pid = fork();
  if (pid == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
    _exit(BuildTinyImage(kDefaultBusybox, image_, nullptr).ok() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0);
  struct stat info = {};
  ASSERT_EQ(stat(image_.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 65534u);
  for (const char* folder : {"/", "/bin", "/sbin", "/etc", "/dev", "/usr/bin"}) {
    EXPECT_THAT(Debugfs(std::string("ls -l ") + folder), ::testing::Not(HasSubstr("65534"))) << folder;
  }
}

TEST_F(TinyImageTest, FailsCleanly) {
  std::ofstream(image_) << "the old image";
  auto refused = [this](const std::string& busybox) {
    absl::Status status = BuildTinyImage(busybox, image_, nullptr);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(GetErrorDetail(status).hint, HasSubstr("busybox-static"));
    return std::string(status.message());
  };
  EXPECT_THAT(refused(folder_ + "/none"), HasSubstr("it does not exist"));
  EXPECT_THAT(refused(folder_), HasSubstr("it is not a regular file"));
  EXPECT_THAT(refused("/bin/dash"), HasSubstr("it is not a statically linked program"));
  EXPECT_THAT(FilesLeft(), ::testing::ElementsAre("tiny.img"));
  EXPECT_EQ(fs::file_size(image_), 13u);
  EXPECT_EQ(BuildTinyImage(kDefaultBusybox, folder_ + "/none/x", nullptr).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umld::guest
