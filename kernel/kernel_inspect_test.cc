#include "kernel/kernel_inspect.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::kernel {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr char kDebianKernel[] = "/usr/bin/linux.uml";

class KernelInspectTest : public ::testing::Test {
 protected:
  KernelInspectTest() {
    std::string name = ::testing::TempDir() + "kernel.XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~KernelInspectTest() override { fs::remove_all(folder_); }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  std::string Program(const std::string& name, const std::string& content) const {
    std::ofstream(At(name), std::ios::binary) << content;
    chmod(At(name).c_str(), 0755);
    return At(name);
  }
  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static std::string Why(const std::string& path) {
    absl::Status status = InspectKernel(path);
    EXPECT_FALSE(GetErrorDetail(status).hint.empty()) << path;
    return std::string(status.message());
  }

  std::string folder_;
};

TEST_F(KernelInspectTest, KnowsDebiansKernel) {
  if (access(kDebianKernel, X_OK) != 0) GTEST_SKIP() << "user-mode-linux is not installed";
  EXPECT_TRUE(InspectKernel(kDebianKernel).ok());
}

TEST_F(KernelInspectTest, EveryWrongFileHasItsWords) {
  EXPECT_THAT(Why("linux.uml"), HasSubstr("is not absolute"));
  EXPECT_THAT(Why(At("none")), HasSubstr("does not exist"));
  EXPECT_EQ(InspectKernel(At("none")).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(GetErrorDetail(InspectKernel(At("none"))).hint, HasSubstr("install the package user-mode-linux"));
  EXPECT_THAT(Why(folder_), HasSubstr("it is a directory"));
  ASSERT_EQ(mkfifo(At("fifo").c_str(), 0755), 0);
  EXPECT_THAT(Why(At("fifo")), HasSubstr("it is not a regular file"));
  EXPECT_THAT(Why("/dev/null"), HasSubstr("it is not a regular file"));
  EXPECT_THAT(Why(Program("script", "#!/bin/sh\necho I am a kernel\n")), HasSubstr("it is not an ELF program"));
  EXPECT_THAT(Why(Program("empty", "")), HasSubstr("it is not an ELF program"));
  EXPECT_THAT(Why("/bin/sh"), HasSubstr(".uml.setup.init is missing"));
}

TEST_F(KernelInspectTest, NotExecutable) {
  std::string program = Program("sh", Read("/bin/sh"));
  chmod(program.c_str(), 0644);
  EXPECT_THAT(Why(program), HasSubstr("is not executable"));
  EXPECT_EQ(InspectKernel(program).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(KernelInspectTest, AnotherMachine) {
  std::string bytes = Read("/bin/sh");
  bytes[4] = 1;  // 32 bits
  EXPECT_THAT(Why(Program("sh32", bytes)), HasSubstr("another kind of machine"));
}

TEST_F(KernelInspectTest, BrokenFilesAreRefusedNotReadBeyond) {
  std::string bytes = Read("/bin/sh");
  EXPECT_THAT(Why(Program("cut", bytes.substr(0, 1000))), HasSubstr("no table of sections"));
  unsigned seed = 1;
  for (int i = 0; i < 200; ++i) {
    std::string broken = bytes;
    for (int change = 0; change < 4; ++change) broken[24 + rand_r(&seed) % 40] = static_cast<char>(rand_r(&seed));
    EXPECT_FALSE(InspectKernel(Program("broken", broken)).ok());
  }
}

}  // namespace
}  // namespace umld::kernel
