#include "devices/disk/cow.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CowTest : public ::testing::Test {
 protected:
  CowTest() {
    std::string name = ::testing::TempDir() + "cow.XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~CowTest() override { fs::remove_all(folder_); }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  std::string MakeFile(const std::string& name, uint64_t size) const {
    std::ofstream(At(name)) << "x";
    fs::resize_file(At(name), size);
    return At(name);
  }
  static std::string Read(const std::string& path, size_t size) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes(size, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(size));
    bytes.resize(static_cast<size_t>(file.gcount()));
    return bytes;
  }
  static uint64_t BlocksOf(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return static_cast<uint64_t>(info.st_blocks) * 512;
  }

  std::string folder_;
};

CowHeader SomeHeader() { return {.mtime = 1, .size = 1 << 20, .sector_size = 512, .alignment = 4096, .backing = "/b"}; }

TEST_F(CowTest, HeaderRoundTrip) {
  CowHeader header{.mtime = 0x81234567,
                   .size = (uint64_t{5} << 32) + 7,
                   .sector_size = 512,
                   .alignment = 4096,
                   .backing = "/srv/base.img"};
  std::string bytes = SerializeCowHeader(header);
  ASSERT_EQ(bytes.size(), kCowHeaderBytes);
  EXPECT_EQ(bytes.substr(0, 8), std::string("OOOM\0\0\0\3", 8));
  auto parsed = ParseCowHeader(bytes);
  ASSERT_TRUE(parsed.ok() && parsed->has_value());
  EXPECT_EQ((*parsed)->mtime, header.mtime);
  EXPECT_EQ((*parsed)->size, header.size);
  EXPECT_EQ((*parsed)->backing, header.backing);
}

TEST_F(CowTest, OtherFilesAreNotCow) {
  for (const std::string& start : {std::string(), std::string("OOO"), std::string(kCowHeaderBytes, '\0')}) {
    auto parsed = ParseCowHeader(start);
    ASSERT_TRUE(parsed.ok());
    EXPECT_FALSE(parsed->has_value());
  }
  EXPECT_TRUE(HasCowMagic("MOOO"));  // version 1 on a little-endian machine
  EXPECT_FALSE(ParseCowHeader("MOOO").ok());
}

TEST_F(CowTest, RefusesNumbersThatKillTheKernel) {
  auto message = [](const CowHeader& broken) {
    return std::string(ParseCowHeader(SerializeCowHeader(broken)).status().message());
  };
  CowHeader header = SomeHeader();
  header.alignment = 0;
  EXPECT_THAT(message(header), HasSubstr("alignment 0"));
  header.alignment = 4097;
  EXPECT_THAT(message(header), HasSubstr("alignment 4097"));
  header = SomeHeader();
  header.sector_size = 0;
  EXPECT_THAT(message(header), HasSubstr("0 bytes per sector"));
  header = SomeHeader();
  header.size = 0;
  EXPECT_THAT(message(header), HasSubstr("is empty"));
  header.size = uint64_t{1} << 63;
  EXPECT_THAT(message(header), HasSubstr("too large"));
  header = SomeHeader();
  header.backing = "b";
  EXPECT_THAT(message(header), HasSubstr("no absolute backing file"));
  std::string bytes = SerializeCowHeader(SomeHeader());
  EXPECT_FALSE(ParseCowHeader(bytes.substr(0, 100)).ok());
  bytes[7] = 2;
  EXPECT_THAT(std::string(ParseCowHeader(bytes).status().message()), HasSubstr("version 3"));
}

// Whatever a guest or a broken disk left there: an answer, never a crash. The sanitizers watch.
TEST_F(CowTest, AnyHeaderIsAnswered) {
  unsigned seed = 1;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = SerializeCowHeader(SomeHeader());
    for (int change = 0; change < 3; ++change) bytes[8 + rand_r(&seed) % 40] = static_cast<char>(rand_r(&seed));
    bytes.resize(static_cast<size_t>(rand_r(&seed)) % (bytes.size() + 1));
    auto parsed = ParseCowHeader(bytes);
    if (parsed.ok() && parsed->has_value()) {
      EXPECT_GE(LayOutCow(**parsed).data_offset, kCowHeaderBytes);
    }
  }
}

TEST_F(CowTest, LayoutRoundsUp) {
  CowHeader header = SomeHeader();
  header.size = 4096 * 4096 + 1;  // one bit more than a page of bitmap
  CowLayout layout = LayOutCow(header);
  EXPECT_EQ(layout.bitmap_offset, 8192u);
  EXPECT_EQ(layout.bitmap_bytes, 4097u);
  EXPECT_EQ(layout.data_offset, 16384u);
  EXPECT_EQ(layout.file_bytes, 16384u + header.size);
}

TEST_F(CowTest, IsWhatUmlMkcowMakes) {
  if (access("/usr/bin/uml_mkcow", X_OK) != 0) GTEST_SKIP() << "uml-utilities is not installed";
  for (uint64_t size : {uint64_t{1}, uint64_t{512}, uint64_t{513}, uint64_t{900} << 20}) {
    std::string backing = MakeFile("backing", size);
    std::string ours = At("ours"), theirs = At("theirs");
    ASSERT_TRUE(CreateCow(ours, backing).ok());
    std::string program = "/usr/bin/uml_mkcow";
    char* argv[] = {program.data(), theirs.data(), backing.data(), nullptr};
    pid_t pid = 0;
    ASSERT_EQ(posix_spawn(&pid, program.c_str(), nullptr, nullptr, argv, environ), 0);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_EQ(status, 0);

    EXPECT_EQ(fs::file_size(ours), fs::file_size(theirs)) << size;
    CowLayout layout = LayOutCow(**ParseCowHeader(Read(ours, kCowHeaderBytes)));
    std::string a = Read(ours, layout.data_offset), b = Read(theirs, layout.data_offset);
    // The path ends at its NUL; what uml_mkcow leaves after it is undefined.
    size_t path_end = 32 + backing.size() + 1;
    EXPECT_EQ(a.substr(0, path_end), b.substr(0, path_end)) << size;
    EXPECT_EQ(a.substr(layout.bitmap_offset), b.substr(layout.bitmap_offset)) << size;
    fs::remove(ours);
    fs::remove(theirs);
  }
}

TEST_F(CowTest, IsSparseAndComplete) {
  std::string backing = MakeFile("backing", uint64_t{1} << 40);
  ASSERT_TRUE(CreateCow(At("cow"), backing).ok());
  EXPECT_LE(BlocksOf(At("cow")), 16384u);
  struct stat info = {};
  ASSERT_EQ(stat(At("cow").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0600, 0600u);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 2u);
}

TEST_F(CowTest, NeverOverwrites) {
  std::string backing = MakeFile("backing", 4096);
  std::ofstream(At("cow")) << "precious";
  EXPECT_EQ(CreateCow(At("cow"), backing).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Read(At("cow"), 100), "precious");
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 2u);
}

TEST_F(CowTest, Refuses) {
  std::string backing = MakeFile("backing", 4096);
  EXPECT_EQ(CreateCow(At("cow"), At("none")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CreateCow(At("none/cow"), backing).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CreateCow(At("cow"), folder_).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateCow(At("cow"), MakeFile("empty", 0)).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(CreateCow(At("cow"), backing).ok());
  absl::Status stacked = CreateCow(At("cow2"), At("cow"));
  EXPECT_EQ(stacked.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(stacked).reason, "COW_ON_COW");
  fs::path long_name = At(std::string(255, 'n'));
  EXPECT_TRUE(CreateCow(long_name, backing).ok());
}

}  // namespace
}  // namespace umld::devices
