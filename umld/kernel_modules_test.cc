#include "umld/kernel_modules.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kVersion[] = "6.1.176";

class KernelModulesTest : public testing::Test {
 protected:
  KernelModulesTest() {
    std::string name = testing::TempDir() + "modules.XXXXXX";
    folder_ = mkdtemp(name.data());
    fs::create_directory(folder_ + "/work");
  }
  ~KernelModulesTest() override { fs::remove_all(folder_); }

  void Write(const std::string& path, const std::string& content) const {
    fs::create_directories(fs::path(folder_ + "/" + path).parent_path());
    std::ofstream(folder_ + "/" + path) << content;
  }
  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  // What debugfs says of the image.
  std::string Ask(const std::string& request) const {
    const auto result = RunCommand({"/sbin/debugfs", "-R", request, At("image")}, std::chrono::seconds(20));
    return result.ok() ? result->output : std::string(result.status().message());
  }
  absl::Status Build(const std::string& path) const {
    ASSIGN_OR_RETURN(const ModulesFolder folder, OpenModules(path, kVersion));
    return BuildModulesImage(folder, kVersion, std::nullopt, At("work"), At("image"));
  }

  std::string folder_;
};

TEST_F(KernelModulesTest, WhereTheyMayBe) {
  Write("a/6.1.176/modules.dep", "");
  Write("b/lib/modules/6.1.176/modules.dep", "");
  Write("c/6.1.175/modules.dep", "");
  Write("d/6.1.176/not-yet", "");
  Write("e/modules.dep", "");
  EXPECT_TRUE(OpenModules(At("a"), kVersion).ok());
  EXPECT_TRUE(OpenModules(At("a/6.1.176"), kVersion).ok());
  EXPECT_TRUE(OpenModules(At("a/6.1.176/"), kVersion).ok());
  EXPECT_TRUE(OpenModules(At("b"), kVersion).ok());
  for (const char* wrong : {"c", "c/6.1.175", "d", "e"}) {
    const absl::Status status = OpenModules(At(wrong), kVersion).status();
    EXPECT_EQ(GetErrorDetail(status).reason, "MODULES_DO_NOT_MATCH") << wrong;
    EXPECT_THAT(std::string(status.message()), HasSubstr("6.1.176/modules.dep"));
  }
  EXPECT_EQ(OpenModules(At("none"), kVersion).status().code(), absl::StatusCode::kNotFound);
  Write("file", "");
  EXPECT_FALSE(OpenModules(At("file"), kVersion).ok());
}

TEST_F(KernelModulesTest, FilesAndFoldersAloneAreTaken) {
  Write("m/6.1.176/modules.dep", "kernel/fs/x.ko:\n");
  Write("m/6.1.176/kernel/fs/x.ko", std::string(300'000, 'k'));
  Write("secret", "secret");
  fs::create_symlink("/", At("m/6.1.176/build"));
  fs::create_symlink(At("secret"), At("m/6.1.176/kernel/link.ko"));
  ASSERT_EQ(mkfifo(At("m/6.1.176/kernel/fifo").c_str(), 0644), 0);
  if (getuid() == 0) {
    ASSERT_EQ(mknod(At("m/6.1.176/kernel/zero").c_str(), S_IFCHR | 0666, makedev(1, 5)), 0);
  }
  ASSERT_TRUE(Build(At("m")).ok());
  EXPECT_THAT(Ask("ls -l /6.1.176"), AllOf(HasSubstr("modules.dep"), HasSubstr("kernel"), Not(HasSubstr("build"))));
  EXPECT_THAT(Ask("ls -l /6.1.176/kernel"),
              AllOf(HasSubstr("fs"), Not(HasSubstr("link.ko")), Not(HasSubstr("fifo")), Not(HasSubstr("zero"))));
  EXPECT_THAT(Ask("cat /6.1.176/modules.dep"), testing::EndsWith("\nkernel/fs/x.ko:\n"));
  EXPECT_THAT(Ask("stat /6.1.176/kernel/fs/x.ko"), HasSubstr("Size: 300000"));
  const auto checked = RunCommand({"/sbin/e2fsck", "-fn", At("image")}, std::chrono::seconds(20));
  ASSERT_TRUE(checked.ok());
  EXPECT_EQ(checked->exit_code, 0) << checked->output;
}

TEST_F(KernelModulesTest, ATreeWithoutEndIsRefused) {
  std::string path = "m/6.1.176";
  Write(path + "/modules.dep", "");
  for (int i = 0; i < 40; ++i) path += "/d";
  Write(path + "/x.ko", "");
  const absl::Status status = Build(At("m"));
  EXPECT_EQ(GetErrorDetail(status).reason, "TOO_LARGE") << status;
}

}  // namespace
}  // namespace umld
