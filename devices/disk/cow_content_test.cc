#include "devices/disk/cow_content.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

class CowContentTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/cow_content_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
  }
  void TearDown() override { EXPECT_TRUE(RemoveFolder(root_).ok()); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  void Run(const std::vector<std::string>& argv) {
    const auto result = RunCommand(argv, std::chrono::minutes(1));
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->exit_code, 0) << argv[0] << ": " << result->output;
  }
  // A backing file of `size`, and an empty COW over it.
  void Make(uint64_t size) {
    backing_ = std::string(size, '\0');
    for (size_t i = 0; i < size; i += 1 + random_() % 5000) backing_[i] = static_cast<char>(random_());
    ASSERT_TRUE(WriteFileDurably(Path("backing"), backing_, 0600).ok());
    ASSERT_TRUE(CreateCow(Path("cow"), Path("backing")).ok());
    cow_.reset(open(Path("cow").c_str(), O_RDWR | O_CLOEXEC));
    std::string start(kCowHeaderBytes, '\0');
    ASSERT_EQ(pread(cow_.get(), start.data(), start.size(), 0), static_cast<ssize_t>(start.size()));
    header_ = **ParseCowHeader(start);
    layout_ = LayOutCow(header_);
    model_ = backing_;
  }
  // As the kernel does: the data, then the bit.
  void WriteSector(uint64_t sector, const std::string& data) {
    const size_t size = std::min<uint64_t>(512, header_.size - sector * 512);
    ASSERT_EQ(pwrite(cow_.get(), data.data(), 512, static_cast<off_t>(layout_.data_offset + sector * 512)), 512);
    SetBit(sector);
    model_.replace(sector * 512, size, data.substr(0, size));
  }
  void SetBit(uint64_t sector) {
    unsigned char byte = 0;
    const auto at = static_cast<off_t>(layout_.bitmap_offset + sector / 8);
    ASSERT_EQ(pread(cow_.get(), &byte, 1, at), 1);
    byte = static_cast<unsigned char>(byte | 1 << sector % 8);
    ASSERT_EQ(pwrite(cow_.get(), &byte, 1, at), 1);
  }
  std::string Noise() {
    std::string noise(512, '\0');
    for (char& c : noise) c = static_cast<char>(random_());
    return noise;
  }
  std::string Merged() {
    Run({"/bin/cp", "--sparse=always", Path("backing"), Path("merged")});
    const UniqueFd into(open(Path("merged").c_str(), O_RDWR | O_CLOEXEC));
    const absl::Status status = MergeCow(cow_.get(), header_, into.get(), nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return *ReadFile(Path("merged"), 1 << 30);
  }

  std::mt19937 random_{1};
  std::string root_, backing_, model_;
  UniqueFd cow_;
  CowHeader header_;
  CowLayout layout_;
};

// Beside the model, beside the tool that everybody has used for this so far.
TEST_F(CowContentTest, MergesAsUmlMooDoes) {
  for (const uint64_t sectors : {1, 7, 8, 9, 4096, 10000}) {
    Make(sectors * 512);
    std::vector<bool> written(sectors);
    uint64_t count = 0;
    for (uint64_t i = 0; i < sectors / 3 + 1; ++i) {
      const uint64_t begin = random_() % sectors;
      const uint64_t end = std::min(sectors, begin + random_() % 20 + 1);
      for (uint64_t sector = begin; sector < end; ++sector) {
        WriteSector(sector, random_() % 4 == 0 ? std::string(512, '\0') : Noise());
        count += written[sector] ? 0 : 1;
        written[sector] = true;
      }
    }
    EXPECT_EQ(*CountCowSectors(cow_.get(), header_), count);
    EXPECT_TRUE(Merged() == model_) << sectors;
    Run({"/usr/bin/uml_moo", Path("cow"), Path("moo")});
    EXPECT_TRUE(*ReadFile(Path("moo"), 1 << 30) == model_) << sectors;
    for (const char* file : {"cow", "backing", "moo", "merged"}) unlink(Path(file).c_str());
  }
}

TEST_F(CowContentTest, AnEmptyOneIsItsBackingFile) {
  Make(100000);
  EXPECT_EQ(*CountCowSectors(cow_.get(), header_), 0u);
  EXPECT_TRUE(Merged() == backing_);
}

TEST_F(CowContentTest, TheLastSectorMayBeAPart) {
  Make(1000);
  WriteSector(1, Noise());
  const std::string merged = Merged();
  EXPECT_EQ(merged.size(), 1000u);
  EXPECT_TRUE(merged == model_);
}

TEST_F(CowContentTest, WhatIsNotThereIsZeros) {
  Make(8192);
  WriteSector(15, Noise());
  // Trimmed by the guest, and cut off by somebody's copy.
  ASSERT_EQ(ftruncate(cow_.get(), static_cast<off_t>(layout_.data_offset)), 0);
  const std::string merged = Merged();
  EXPECT_TRUE(merged == backing_.substr(0, 15 * 512) + std::string(512, '\0'));
}

// Written into its backing file as by uml_moo; and again from wherever a kill may have stopped it.
TEST_F(CowContentTest, GoesIntoItsBackingFile) {
  constexpr uint64_t kSectors = 6000;
  for (const int stop_after : {0, 1, 5, 1000}) {
    Make(kSectors * 512);
    for (int i = 0; i < 60; ++i) {
      for (uint64_t sector = random_() % (kSectors - 30), end = sector + random_() % 30; sector < end; ++sector) {
        WriteSector(sector, random_() % 4 == 0 ? std::string(512, '\0') : Noise());
      }
    }
    // Long ago, so that its time becomes another.
    Run({"/usr/bin/touch", "-d", "@1000000000", Path("backing")});
    ASSERT_TRUE(RebaseCow(Path("cow"), Path("backing"), /*same_content=*/true).ok());
    header_.mtime = 1000000000;
    Run({"/usr/bin/uml_moo", Path("cow"), Path("moo")});
    const UniqueFd backing(open(Path("backing").c_str(), O_RDWR | O_CLOEXEC));
    // As far as that many steps, and then the disk is full.
    int steps = 0;
    const absl::Status stopped = CommitCow(cow_.get(), header_, backing.get(), [&](uint64_t, uint64_t) {
      return steps++ < stop_after ? absl::OkStatus() : absl::ResourceExhaustedError("full");
    });
    EXPECT_EQ(stopped.ok(), stop_after == 1000) << stopped;
    EXPECT_TRUE(Merged() == model_) << "what the guest sees became another";
    std::string start(kCowHeaderBytes, '\0');
    ASSERT_EQ(pread(cow_.get(), start.data(), start.size(), 0), static_cast<ssize_t>(start.size()));
    const CowHeader now = **ParseCowHeader(start);
    EXPECT_EQ(now.mtime, NewCowHeader(Path("backing"))->mtime) << "no kernel would take it";
    EXPECT_EQ(now.backing, header_.backing);
    const absl::Status done = CommitCow(cow_.get(), now, backing.get(), nullptr);
    EXPECT_TRUE(done.ok()) << done;
    EXPECT_TRUE(*ReadFile(Path("backing"), 1 << 30) == *ReadFile(Path("moo"), 1 << 30));
    EXPECT_EQ(*CountCowSectors(cow_.get(), now), 0u);
    struct stat info = {};
    ASSERT_EQ(fstat(cow_.get(), &info), 0);
    EXPECT_LE(info.st_blocks * 512, 16384) << "its blocks are still there";
    EXPECT_EQ(static_cast<uint64_t>(info.st_size), LayOutCow(now).file_bytes) << "a kernel expects its whole length";
    for (const char* file : {"cow", "backing", "moo", "merged"}) unlink(Path(file).c_str());
  }
}

TEST_F(CowContentTest, Damaged) {
  Make(4000 * 512 + 1);
  SetBit(4005);
  EXPECT_EQ(GetErrorDetail(CountCowSectors(cow_.get(), header_).status()).reason, "COW_INVALID");
  const UniqueFd into(open(Path("backing").c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(GetErrorDetail(MergeCow(cow_.get(), header_, into.get(), nullptr)).reason, "COW_INVALID");
  ASSERT_EQ(ftruncate(cow_.get(), static_cast<off_t>(layout_.bitmap_offset + 10)), 0);
  EXPECT_EQ(GetErrorDetail(CountCowSectors(cow_.get(), header_).status()).reason, "COW_INVALID");
}

}  // namespace
}  // namespace umld::devices
