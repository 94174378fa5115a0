#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "umld/archive_reader.h"
#include "umld/archive_writer.h"

namespace umld {
namespace {

// Keeps what an archive has.
class Kept final : public ArchiveSink {
 public:
  absl::Status TakeManifest(const v1::GuestArchive& taken) override {
    manifest = taken;
    return absl::OkStatus();
  }
  absl::Status BeginFile(const std::string& file, uint64_t size) override {
    current = file;
    files[file] = std::string(size, '\0');
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, absl::string_view bytes) override {
    EXPECT_LE(offset + bytes.size(), files[current].size());
    bytes.copy(files[current].data() + offset, bytes.size());
    return absl::OkStatus();
  }
  absl::Status EndFile() override {
    ended.push_back(current);
    return absl::OkStatus();
  }

  v1::GuestArchive manifest;
  std::map<std::string, std::string> files;
  std::vector<std::string> ended;
  std::string current;
};

class ArchiveTest : public testing::Test {
 protected:
  ArchiveTest() {
    char folder[] = "/tmp/archive_test.XXXXXX";
    root_ = mkdtemp(folder);
    manifest_.set_format(kArchiveFormat);
    manifest_.mutable_guest()->set_name("guests/web1");
    manifest_.mutable_time()->set_seconds(1700000000);
  }
  ~ArchiveTest() override { std::filesystem::remove_all(root_); }

  // Data at these offsets, holes elsewhere.
  void AddDisk(const std::string& device, uint64_t size, const std::vector<Extent>& data,
               const std::string& image = "") {
    v1::ArchivedDisk* disk = manifest_.add_disks();
    disk->set_device(device);
    disk->set_file("disks/" + device);
    disk->set_size_bytes(size);
    disk->set_image(image);
    AddFile(disk->file(), size, data);
  }
  void AddFile(const std::string& name, uint64_t size, const std::vector<Extent>& data) {
    const std::string path = absl::StrCat(root_, "/", files_.size());
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    std::string& model = model_[name];
    model.assign(size, '\0');
    for (const Extent& extent : data) {
      for (uint64_t i = 0; i < extent.size; ++i) model[extent.offset + i] = static_cast<char>(random_() | 1);
      ASSERT_EQ(pwrite(fd.get(), model.data() + extent.offset, extent.size, static_cast<off_t>(extent.offset)),
                static_cast<ssize_t>(extent.size));
    }
    files_.push_back({name, std::move(fd), size});
  }
  std::string Write() {
    absl::StatusOr<ArchiveWriter> writer = ArchiveWriter::Create(manifest_, std::move(files_));
    EXPECT_TRUE(writer.ok()) << writer.status();
    std::string archive;
    while (true) {
      const absl::StatusOr<std::string> piece = writer->Next();
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || piece->empty()) break;
      archive += *piece;
    }
    EXPECT_EQ(archive.size(), writer->total_bytes());
    return archive;
  }
  static absl::Status Read(const std::string& archive, Kept* kept, size_t piece = 1 << 20) {
    ArchiveReader reader(kept);
    for (size_t at = 0; at < archive.size(); at += piece) {
      RETURN_IF_ERROR(reader.Feed(absl::string_view(archive).substr(at, piece)));
    }
    return reader.Finish();
  }

  std::string root_;
  std::mt19937 random_{7};
  v1::GuestArchive manifest_;
  std::vector<ArchiveWriter::File> files_;
  std::map<std::string, std::string> model_;
};

TEST_F(ArchiveTest, GivesBackWhatWentIn) {
  v1::ArchivedImage* image = manifest_.add_images();
  image->set_id("1");
  image->set_file("images/1");
  image->set_size_bytes(3 << 20);
  AddFile("images/1", 3 << 20, {{0, 5000}, {1 << 20, 1 << 20}});
  AddDisk("ubda", 50 << 20, {{4096, 1}, {40 << 20, 3 << 20}}, "1");
  AddDisk("ubdb", 1 << 20, {});
  AddDisk("ubdc", 777, {{0, 777}});
  const std::string archive = Write();
  EXPECT_LT(archive.size(), 6u << 20) << "holes are in it";
  for (const size_t piece : {1, 511, 100000, 1 << 22}) {
    Kept kept;
    const absl::Status status = Read(archive, &kept, piece);
    ASSERT_TRUE(status.ok()) << status << " in pieces of " << piece;
    EXPECT_EQ(kept.manifest.guest().name(), "guests/web1");
    EXPECT_EQ(kept.ended, (std::vector<std::string>{"images/1", "disks/ubda", "disks/ubdb", "disks/ubdc"}));
    EXPECT_TRUE(kept.files == model_);
  }
}

// What people have on any machine reads it.
TEST_F(ArchiveTest, TarUnpacksIt) {
  AddDisk("ubda", (20 << 20) + 512, {{8192, 100000}, {10 << 20, 4096}});
  AddDisk("ubdb", 4 << 20, {{(4 << 20) - 4096, 4096}});
  const std::string archive = Write();
  const std::string path = root_ + "/archive.tar";
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(write(fd.get(), archive.data(), archive.size()), static_cast<ssize_t>(archive.size()));
  const auto listed = RunCommand({"/bin/tar", "-tf", path}, std::chrono::minutes(1));
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->output, "guest.json\ndisks/ubda\ndisks/ubdb\nchecksums.json\n");
  const auto unpacked = RunCommand({"/bin/tar", "-C", root_, "-xf", path}, std::chrono::minutes(1));
  ASSERT_TRUE(unpacked.ok());
  ASSERT_EQ(unpacked->exit_code, 0) << unpacked->output;
  for (const auto& [name, model] : model_) {
    std::string content(model.size() + 1, '\0');
    const UniqueFd file(open(absl::StrCat(root_, "/", name).c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t got = pread(file.get(), content.data(), content.size(), 0);
    ASSERT_EQ(got, static_cast<ssize_t>(model.size())) << name;
    content.resize(model.size());
    EXPECT_TRUE(content == model) << name;
  }
}

TEST_F(ArchiveTest, WhateverIsMissingOrChangedIsFound) {
  AddDisk("ubda", 1 << 16, {{0, 3000}, {50000, 10}});
  AddDisk("ubdb", 4096, {});
  const std::string archive = Write();
  for (size_t size = 0; size < archive.size(); ++size) {
    Kept kept;
    const absl::Status status = Read(archive.substr(0, size), &kept);
    ASSERT_EQ(GetErrorDetail(status).reason, "BAD_ARCHIVE") << "cut at " << size << ": " << status;
  }
  for (size_t at = 0; at < archive.size(); ++at) {
    std::string changed = archive;
    changed[at] = static_cast<char>(changed[at] ^ 0x55);
    Kept kept;
    ASSERT_FALSE(Read(changed, &kept).ok()) << "changed at " << at;
  }
  Kept kept;
  EXPECT_FALSE(Read(archive + "x", &kept).ok());
  EXPECT_TRUE(Read(archive + std::string(9216, '\0'), &kept).ok()) << "tar fills up its last record";
}

// Whoever writes the checksums himself still gets nothing by it.
TEST_F(ArchiveTest, RefusesWhatNobodyWouldWrite) {
  const auto refused = [&](const std::string& says) {
    files_.clear();
    model_.clear();
    std::vector<ArchiveWriter::File> none;
    absl::StatusOr<ArchiveWriter> writer = ArchiveWriter::Create(manifest_, std::move(none));
    std::string archive;
    while (!archive.empty() || writer.ok()) {
      const absl::StatusOr<std::string> piece = writer->Next();
      if (!piece.ok() || piece->empty()) break;
      archive += *piece;
    }
    Kept kept;
    const absl::Status status = Read(archive, &kept);
    EXPECT_TRUE(!status.ok() && absl::StrContains(status.message(), says)) << says << ": " << status;
    manifest_.clear_disks();
    manifest_.clear_images();
    EXPECT_TRUE(kept.files.empty());
  };
  AddDisk("../../etc", 512, {});
  refused("names a disk wrongly");
  AddDisk("ubda", 512, {});
  manifest_.mutable_disks(0)->set_file("/etc/passwd");
  refused("names a disk wrongly");
  AddDisk("ubda", 512, {});
  AddDisk("ubda", 512, {});
  refused("names a disk wrongly");
  AddDisk("ubda", 512, {}, "9");
  refused("lacks");
  AddDisk("ubda", 512, {});
  manifest_.mutable_disks(0)->set_size_bytes(uint64_t{1} << 60);
  refused("no disk of UML has");
  AddDisk("ubda", 512, {});
  manifest_.mutable_disks(0)->set_size_bytes(0);
  refused("no disk of UML has");
  for (int i = 0; i < 17; ++i) AddDisk(absl::StrCat("d", i), 512, {});
  refused("more disks");
  manifest_.add_images()->set_id("../1");
  refused("names an image wrongly");
  AddDisk("ubda", 512, {});
  refused("has checksums.json where disks/ubda belongs");
  manifest_.set_format(2);
  refused("format 2");
}

// A stranger's own map: more than the disk, backwards, overlapping, endless.
TEST_F(ArchiveTest, RefusesImpossibleMaps) {
  AddDisk("ubda", 1 << 20, {{4096, 4096}});
  const std::string archive = Write();
  const std::string map = "2\n4096\n4096\n1048576\n0\n";
  const size_t at = archive.find(map);
  ASSERT_NE(at, std::string::npos);
  for (std::string other : {"2\n4096\n4096\n1048575\n0\n", "2\n4096\n4096\n104857\n\n0\n",
                            "2\n9096\n4096\n1048576\n1\n", "2\n1048576\n1\n1048576\n", "9999999\n4096\n4096\n104\n",
                            "0\n4096\n4096\n10485760\n", "2\n4096\n0\n1048576\n0\n123", "-2\n4096\n4096\n104857\n",
                            "99999999999999999999999", "2\n4096\n9999999999999999999"}) {
    other.resize(std::max(other.size(), map.size()), '\0');
    std::string changed = archive;
    changed.replace(at, other.size(), other);
    Kept kept;
    EXPECT_EQ(GetErrorDetail(Read(changed, &kept)).reason, "BAD_ARCHIVE") << other;
  }
}

TEST_F(ArchiveTest, SaysHowToUnpackWhatIsPacked) {
  Kept kept;
  const absl::Status status = Read(std::string("\x28\xb5\x2f\xfd") + std::string(600, 'x'), &kept);
  EXPECT_TRUE(absl::StrContains(GetErrorDetail(status).hint, "zstd -dc")) << status;
  EXPECT_EQ(GetErrorDetail(Read(std::string(600, 'x'), &kept)).reason, "BAD_ARCHIVE");
}

TEST_F(ArchiveTest, ManySmallPartsBecomeFewer) {
  AddFile("fragments", 64 << 20, {});
  const int fd = files_[0].fd.get();
  for (off_t at = 0; at < 64 << 20; at += 8192) ASSERT_EQ(pwrite(fd, "x", 1, at), 1);
  const absl::StatusOr<std::vector<Extent>> extents = UsedExtents(fd, 64 << 20);
  ASSERT_TRUE(extents.ok());
  EXPECT_LE(extents->size(), 8192u);
  uint64_t end = 0;
  for (const Extent& extent : *extents) {
    EXPECT_GE(extent.offset, end);
    end = extent.offset + extent.size;
  }
}

}  // namespace
}  // namespace umld
