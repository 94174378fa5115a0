#include "devices/disk/disk_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "devices/disk/cow.h"

namespace umld::devices {
namespace {

class DiskReaderTest : public testing::Test {
 protected:
  DiskReaderTest() {
    folder_ = "/tmp/disk_reader_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  }
  ~DiskReaderTest() override { std::filesystem::remove_all(folder_); }

  std::string Make(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ + "/" + name) << bytes;
    return folder_ + "/" + name;
  }

  std::string folder_;
};

TEST_F(DiskReaderTest, TheLastSectorIsFilledUpWithZeros) {
  auto disk = DiskReader::Open({1, "", Make("tar", std::string(700, 't')), "", ""});
  ASSERT_TRUE(disk.ok()) << disk.status();
  EXPECT_EQ(disk->file_bytes(), 700U);
  EXPECT_EQ(disk->size_bytes(), 1024U);
  EXPECT_EQ(*disk->Read(600, 4096), std::string(100, 't') + std::string(324, '\0'));
  EXPECT_EQ(*disk->Read(1024, 10), "");
  EXPECT_EQ(*disk->Read(~uint64_t{0}, 10), "");
}

TEST_F(DiskReaderTest, WhatWasWrittenComesFromTheCow) {
  const std::string base = Make("base", std::string(8 * 512, 'b')), cow = folder_ + "/cow";
  const DiskSpec spec{1, "", cow, base, ""};
  // Before the COW file is made, the disk is what the backing file is.
  EXPECT_EQ(*DiskReader::Open(spec)->Read(500, 24), std::string(24, 'b'));
  ASSERT_TRUE(CreateCow(cow, base).ok());
  EXPECT_EQ(*DiskReader::Open(spec)->Read(500, 24), std::string(24, 'b'));
  // The guest writes sector 1, and the last one.
  const CowLayout layout = LayOutCow(*NewCowHeader(base));
  std::fstream file(cow, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(layout.bitmap_offset));
  file.put(static_cast<char>(0x82));
  for (uint64_t sector : {1, 7}) {
    file.seekp(static_cast<std::streamoff>(layout.data_offset + sector * 512));
    file << std::string(512, 'c');
  }
  file.close();
  auto disk = DiskReader::Open(spec);
  ASSERT_TRUE(disk.ok()) << disk.status();
  EXPECT_EQ(*disk->Read(500, 24), std::string(12, 'b') + std::string(12, 'c'));
  EXPECT_EQ(*disk->Read(1020, 8), "ccccbbbb");
  EXPECT_EQ(*disk->Read(7 * 512, 4096), std::string(512, 'c'));
}

TEST_F(DiskReaderTest, WhatCannotBeRead) {
  const std::string base = Make("base", std::string(8 * 512, 'b')), cow = folder_ + "/cow";
  EXPECT_TRUE(absl::IsNotFound(DiskReader::Open({1, "", folder_ + "/none", "", ""}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(DiskReader::Open({1, "", Make("raw", "x"), base, ""}).status()));
  ASSERT_TRUE(CreateCow(cow, base).ok());
  std::filesystem::resize_file(base, 16 * 512);
  EXPECT_TRUE(absl::IsFailedPrecondition(DiskReader::Open({1, "", cow, base, ""}).status()));
}

}  // namespace
}  // namespace umld::devices
