#include "umld/cow_risk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::HasSubstr;

class CowRiskTest : public testing::Test {
 protected:
  CowRiskTest() {
    char path[] = "/tmp/cow_risk_test.XXXXXX";
    fd_.reset(mkostemp(path, O_CLOEXEC));
    path_ = path;
  }
  ~CowRiskTest() override { unlink(path_.c_str()); }

  // A disk of 64 MiB that these words made something of.
  std::string RiskAfter(const std::string& script) {
    EXPECT_EQ(ftruncate(fd_.get(), 0), 0);
    EXPECT_EQ(ftruncate(fd_.get(), 64 << 20), 0);
    const auto made = RunCommand({"/bin/sh", "-ec", "PATH=$PATH:/sbin:/usr/sbin; DISK=" + path_ + "; " + script},
                                 std::chrono::minutes(1));
    EXPECT_TRUE(made.ok() && made->exit_code == 0) << (made.ok() ? made->output : "");
    return CowRisk(64 << 20, [this](uint64_t offset, size_t size) -> absl::StatusOr<std::string> {
      std::string bytes(size, '\0');
      const ssize_t got = pread(fd_.get(), bytes.data(), size, static_cast<off_t>(offset));
      if (got < 0) return absl::DataLossError("read");
      bytes.resize(static_cast<size_t>(got));
      return bytes;
    });
  }

  UniqueFd fd_;
  std::string path_;
};

TEST_F(CowRiskTest, SeesFilesystemsWithSmallBlocks) {
  EXPECT_EQ(RiskAfter(":"), "");
  EXPECT_EQ(RiskAfter("mke2fs -q -F -t ext4 -b 4096 $DISK"), "");
  EXPECT_THAT(RiskAfter("mke2fs -q -F -t ext4 -b 1024 $DISK"), HasSubstr("it is ext with blocks of 1024 bytes"));
}

TEST_F(CowRiskTest, WhatCannotBeReadIsNone) {
  EXPECT_EQ(CowRisk(64 << 20, [](uint64_t, size_t) { return absl::DataLossError("read"); }), "");
  EXPECT_EQ(CowRisk(64 << 20, [](uint64_t, size_t) { return std::string(); }), "");
}

TEST_F(CowRiskTest, SeesPartitionsOffTheBoundary) {
  EXPECT_EQ(RiskAfter("echo 2048,,L | sfdisk -q $DISK"), "");
  EXPECT_THAT(RiskAfter("echo 63,,L | sfdisk -q $DISK"), HasSubstr("partition 1 does not begin"));
  EXPECT_THAT(RiskAfter("printf '2048,2048,L\n4099,,L\n' | sfdisk -q $DISK"), HasSubstr("partition 2 does not begin"));
  EXPECT_THAT(RiskAfter("echo 2048,,L | sfdisk -q $DISK; mke2fs -q -F -b 2048 -E offset=1048576 $DISK 40M"),
              HasSubstr("partition 1 is ext with blocks of 2048 bytes"));
}

}  // namespace
}  // namespace umld
