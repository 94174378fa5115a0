#include "umld/volume_content.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class VolumeContentTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "/volume.img";
    fd_.reset(open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_TRUE(fd_.ok());
  }
  void TearDown() override { unlink(path_.c_str()); }

  void Make(uint64_t size, v1::VolumeFormat format) {
    ASSERT_EQ(ftruncate(fd_.get(), static_cast<off_t>(size)), 0);
    const absl::Status status = FormatVolume(path_, format);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(DetectVolumeFormat(fd_.get()), format);
  }
  uint64_t Size() const {
    struct stat info = {};
    fstat(fd_.get(), &info);
    return static_cast<uint64_t>(info.st_size);
  }
  static int Shell(const std::string& script) {
    return std::system(absl::StrCat("PATH=$PATH:/usr/sbin:/sbin; exec >/dev/null 2>&1; ", script).c_str());
  }
  static std::string Said(const std::string& script) {
    std::string text;
    FILE* const pipe = popen(absl::StrCat("PATH=$PATH:/usr/sbin:/sbin; ", script).c_str(), "r");
    char buffer[256];
    for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, got);
    pclose(pipe);
    return text;
  }
  // Noise in a file of the filesystem, and its checksum.
  std::string Fill() {
    EXPECT_EQ(Shell(absl::StrCat("head -c 5000000 /dev/urandom >", path_, ".noise && debugfs -w -R 'write ", path_,
                                 ".noise noise' ", path_)),
              0);
    const std::string sum = Said(absl::StrCat("sha256sum <", path_, ".noise"));
    unlink((path_ + ".noise").c_str());
    return sum;
  }
  std::string Sum() { return Said(absl::StrCat("debugfs -R 'cat noise' ", path_, " 2>/dev/null | sha256sum")); }

  std::string path_;
  UniqueFd fd_;
};

TEST_F(VolumeContentTest, AFilesystemGrowsWithTheFile) {
  Make(64 * kMiB, v1::VOLUME_EXT4);
  struct stat info = {};
  fstat(fd_.get(), &info);
  EXPECT_LT(info.st_blocks * 512, int64_t{4} << 20) << "its tables are holes";
  const std::string sum = Fill();
  ASSERT_TRUE(GrowVolume(path_, {64 * kMiB, 2048 * kMiB, false}, nullptr).ok());
  EXPECT_EQ(Size(), 2048 * kMiB);
  EXPECT_EQ(Shell("e2fsck -fn " + path_), 0);
  EXPECT_EQ(Sum(), sum);
  EXPECT_EQ(Said("dumpe2fs -h " + path_ + " 2>/dev/null | sed -n 's/^Block count: *//p'"), "524288\n");
  // Once more changes nothing.
  EXPECT_TRUE(GrowVolume(path_, {2048 * kMiB, 2048 * kMiB, true}, nullptr).ok());
  EXPECT_EQ(Sum(), sum);
}

TEST_F(VolumeContentTest, ASwapAreaKeepsItsLabelAndUuid) {
  Make(8 * kMiB, v1::VOLUME_SWAP);
  ASSERT_EQ(Shell("swaplabel -L mine " + path_), 0);
  const std::string label = Said("swaplabel " + path_);
  ASSERT_TRUE(GrowVolume(path_, {8 * kMiB, 32 * kMiB, false}, nullptr).ok());
  EXPECT_EQ(Said("swaplabel " + path_), label);
  uint32_t last_page = 0;
  ASSERT_EQ(pread(fd_.get(), &last_page, sizeof(last_page), 1028), 4);
  EXPECT_EQ(last_page, 32 * kMiB / 4096 - 1);
}

TEST_F(VolumeContentTest, WhatCannotBeGrownIsAsItWas) {
  Make(16 * kMiB, v1::VOLUME_EXT4);
  // Damage that e2fsck would have to ask about: the root folder's inode is gone.
  ASSERT_EQ(Shell("debugfs -w -R 'clri <2>' " + path_), 0);
  const absl::Status status = GrowVolume(path_, {16 * kMiB, 64 * kMiB, false}, nullptr);
  EXPECT_EQ(GetErrorDetail(status).reason, "VOLUME_DAMAGED") << status;
  EXPECT_EQ(Size(), 16 * kMiB);
}

TEST_F(VolumeContentTest, TheLockIsRespectedAndWaitedForAfterARestart) {
  Make(16 * kMiB, v1::VOLUME_EXT4);
  // As a UML kernel, or a resize2fs that outlived its umld.
  const pid_t other = fork();
  if (other == 0) {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    const int fd = open(path_.c_str(), O_RDWR);
    if (fcntl(fd, F_SETLK, &lock) == 0) absl::SleepFor(absl::Milliseconds(1500));
    _exit(0);
  }
  absl::SleepFor(absl::Milliseconds(300));
  const absl::Status refused = GrowVolume(path_, {16 * kMiB, 64 * kMiB, false}, nullptr);
  EXPECT_EQ(GetErrorDetail(refused).reason, "VOLUME_IN_USE") << refused;
  EXPECT_EQ(Size(), 16 * kMiB);
  bool waited = false;
  const auto progress = [&](const std::string& what, uint64_t, uint64_t) {
    waited = waited || absl::StrContains(what, "waiting");
    return absl::OkStatus();
  };
  EXPECT_TRUE(GrowVolume(path_, {16 * kMiB, 64 * kMiB, true}, progress).ok());
  EXPECT_TRUE(waited);
  EXPECT_EQ(Size(), 64 * kMiB);
  waitpid(other, nullptr, 0);
}

// resize2fs killed at any moment, as by a host that goes down: what is there is repaired and grown.
TEST_F(VolumeContentTest, CutOffInTheMiddle) {
  Make(64 * kMiB, v1::VOLUME_EXT4);
  const std::string sum = Fill();
  ASSERT_EQ(Shell(absl::StrCat("cp --sparse=always ", path_, " ", path_, ".kept")), 0);
  for (int delay_ms : {1, 3, 6, 10, 15, 22, 30}) {
    SCOPED_TRACE(delay_ms);
    // In place: fd_ is of this file.
    ASSERT_EQ(Shell(absl::StrCat("truncate -s 0 ", path_, " && dd if=", path_, ".kept of=", path_,
                                 " conv=sparse,notrunc bs=4096 && truncate -s 300G ", path_)),
              0);
    SpawnOptions options;
    options.argv = {"/usr/sbin/resize2fs", path_};
    absl::StatusOr<Child> child = Spawn(options);
    ASSERT_TRUE(child.ok());
    absl::SleepFor(absl::Milliseconds(delay_ms));
    kill(child->pid, SIGKILL);
    waitpid(child->pid, nullptr, 0);
    const absl::Status status = GrowVolume(path_, {64 * kMiB, 300 * 1024 * kMiB, true}, nullptr);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Shell("e2fsck -fn " + path_), 0);
    EXPECT_EQ(Sum(), sum);
  }
  unlink((path_ + ".kept").c_str());
}

TEST_F(VolumeContentTest, WhatIsNeitherIsLeftAlone) {
  ASSERT_EQ(ftruncate(fd_.get(), 4 * kMiB), 0);
  EXPECT_EQ(DetectVolumeFormat(fd_.get()), v1::VOLUME_FORMAT_UNSPECIFIED);
  ASSERT_TRUE(GrowVolume(path_, {4 * kMiB, 8 * kMiB, false}, nullptr).ok());
  EXPECT_EQ(Size(), 8 * kMiB);
  // A superblock that is not one.
  const uint16_t magic = 0xef53;
  const uint32_t log_size = 77, blocks = 9;
  ASSERT_EQ(pwrite(fd_.get(), &magic, 2, 1024 + 56), 2);
  ASSERT_EQ(pwrite(fd_.get(), &log_size, 4, 1024 + 24), 4);
  ASSERT_EQ(pwrite(fd_.get(), &blocks, 4, 1024 + 4), 4);
  EXPECT_EQ(DetectVolumeFormat(fd_.get()), v1::VOLUME_FORMAT_UNSPECIFIED);
}

}  // namespace
}  // namespace umld
