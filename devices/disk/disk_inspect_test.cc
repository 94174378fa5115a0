#include "devices/disk/disk_inspect.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class DiskInspectTest : public ::testing::Test {
 protected:
  DiskInspectTest() {
    std::string name = "/tmp/disk.XXXXXX";
    folder_ = mkdtemp(name.data());
    chmod(folder_.c_str(), 0755);
  }
  ~DiskInspectTest() override { fs::remove_all(folder_); }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  std::string MakeFile(const std::string& name, uint64_t size) const {
    std::ofstream(At(name)) << "x";
    fs::resize_file(At(name), size);
    return At(name);
  }
  std::string MakeCow(const std::string& name, const std::string& backing) const {
    EXPECT_TRUE(CreateCow(At(name), backing).ok());
    return At(name);
  }
  static absl::Status Why(const DiskSpec& spec) { return InspectDisk(spec).status(); }
  static absl::Status Why(const std::string& path) { return Why({1, "", path, "", ""}); }
  static std::string Text(const absl::Status& status) { return std::string(status.message()); }
  static DiskFile Look(const std::string& path, const std::string& flags = "", const std::string& backing = "") {
    auto file = InspectDisk({1, flags, path, backing, ""});
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *file : DiskFile{};
  }

  std::string folder_;
};

TEST_F(DiskInspectTest, PlainFile) {
  std::string disk = MakeFile("disk", 5000);
  DiskFile file = Look(disk);
  struct stat info = {};
  ASSERT_EQ(stat(disk.c_str(), &info), 0);
  EXPECT_EQ(file.path, (FileId{info.st_dev, info.st_ino, false}));
  EXPECT_EQ(file.size_bytes, 5000u);
  EXPECT_TRUE(file.writable);
  EXPECT_FALSE(file.shared);
  EXPECT_FALSE(file.create_cow);
  EXPECT_FALSE(file.backing.has_value());
  EXPECT_FALSE(Look(disk, "r").writable);
  EXPECT_TRUE(Look(disk, "c").shared);
}

TEST_F(DiskInspectTest, EveryWrongKindHasItsWords) {
  ASSERT_EQ(mkfifo(At("fifo").c_str(), 0600), 0);
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(At("s").size(), sizeof(address.sun_path));
  At("s").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);

  EXPECT_THAT(Text(Why(folder_)), HasSubstr("is a directory, not a disk"));
  EXPECT_THAT(Text(Why(At("fifo"))), HasSubstr("is a FIFO, not a disk"));
  EXPECT_THAT(Text(Why(At("s"))), HasSubstr("is a socket, not a disk"));
  EXPECT_THAT(Text(Why("/dev/null")), HasSubstr("is a character device, not a disk"));
  EXPECT_EQ(Why("/dev/null").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Text(Why(At("none"))), HasSubstr("does not exist"));
  EXPECT_EQ(Why(At("none")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Why(MakeFile("f", 1) + "/x").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(Why(MakeFile("empty", 0))), HasSubstr("is empty"));
  fs::create_symlink("loop", At("loop"));
  EXPECT_THAT(Text(Why(At("loop"))), HasSubstr("leads in a circle"));
  EXPECT_EQ(Why(At(std::string(300, 'n'))).code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& backing : {At("fifo"), folder_, At("none"), At("s"), std::string("/dev/null")}) {
    EXPECT_FALSE(Why({1, "", At("new.cow"), backing, ""}).ok()) << backing;
  }
  EXPECT_THAT(Text(Why({1, "", At("fifo"), MakeFile("base", 4096), ""})), HasSubstr("is a FIFO"));
}

TEST_F(DiskInspectTest, ChecksTheSpecFirst) { EXPECT_EQ(Why("relative").code(), absl::StatusCode::kInvalidArgument); }

TEST_F(DiskInspectTest, Permissions) {
  if (geteuid() != 0) GTEST_SKIP() << "needs another user to look as";
  std::string readable = MakeFile("readable", 4096), secret = MakeFile("secret", 4096);
  chmod(readable.c_str(), 0644);
  chmod(secret.c_str(), 0600);
  ASSERT_EQ(seteuid(65534), 0);
  absl::Status write = Why(readable), read = Why({1, "r", secret, "", ""});
  absl::Status read_only = Why({1, "r", readable, "", ""});
  absl::Status new_cow = Why({1, "", At("new.cow"), readable, ""});
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_EQ(write.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(GetErrorDetail(write).hint, HasSubstr("flag r"));
  EXPECT_EQ(read.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(read_only.ok()) << read_only;
  EXPECT_EQ(new_cow.code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(DiskInspectTest, CowToBeMade) {
  std::string base = MakeFile("base", 8192);
  DiskFile file = Look(At("new.cow"), "", base);
  EXPECT_TRUE(file.create_cow);
  EXPECT_EQ(file.new_name, "new.cow");
  EXPECT_EQ(file.size_bytes, 8192u);
  EXPECT_EQ(*file.backing, Look(base).path);
  EXPECT_FALSE(fs::exists(At("new.cow")));
  EXPECT_EQ(Why({1, "", At("none/new.cow"), base, ""}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Why({1, "", base + "/new.cow", base, ""}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Why({1, "", At("new/"), base, ""}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Why({1, "r", At("new.cow"), base, ""}).code(), absl::StatusCode::kNotFound);
  fs::create_symlink("nothing", At("link"));
  EXPECT_THAT(Text(Why({1, "", At("link"), base, ""})), HasSubstr("symbolic link to nothing"));
}

TEST_F(DiskInspectTest, ExistingCow) {
  std::string base = MakeFile("base", 8192), cow = MakeCow("cow", base);
  DiskFile file = Look(cow, "", base);
  EXPECT_FALSE(file.create_cow);
  EXPECT_EQ(file.size_bytes, 8192u);
  EXPECT_EQ(file.header_backing, base);
  // By another name it is the same file.
  fs::create_symlink(base, At("base-link"));
  EXPECT_EQ(Look(cow, "", At("base-link")), file);
}

// Somebody who writes to a COW file may have chosen what it names; behind another process may be what never answers.
TEST_F(DiskInspectTest, AHeaderLeadsThroughNoOtherProcess) {
  const std::string base = MakeFile("base", 8192), cow = MakeCow("cow", base), other = MakeFile("other", 8192);
  auto header_names = [&](const std::string& name) {
    std::fstream file(cow, std::ios::in | std::ios::out | std::ios::binary);
    constexpr int kBackingAt = 32;
    file.seekp(kBackingAt);
    file << name << '\0';
  };
  header_names(other);
  EXPECT_EQ(GetErrorDetail(Why({1, "", cow, base, ""})).reason, "COW_MISMATCH") << "here it is looked at";
  header_names("/proc/self/root" + other);
  EXPECT_EQ(Look(cow, "", base).header_backing, "/proc/self/root" + other);
}

// Also on a file system that is not the root's.
TEST_F(DiskInspectTest, WhatAHeaderNamesBesideItsFilesIsLookedAt) {
  std::string elsewhere = "/dev/shm/disk_inspect.XXXXXX";
  ASSERT_NE(mkdtemp(elsewhere.data()), nullptr);
  for (const char* folder : {"/cows", "/bases"}) fs::create_directory(elsewhere + folder);
  const std::string cow = elsewhere + "/cows/cow", base = elsewhere + "/bases/base", copy = elsewhere + "/bases/copy";
  std::ofstream(base) << std::string(8192, 'x');
  fs::copy_file(base, copy);
  fs::last_write_time(copy, fs::last_write_time(base));
  EXPECT_TRUE(CreateCow(cow, base).ok());
  EXPECT_EQ(GetErrorDetail(Why({1, "", cow, copy, ""})).reason, "COW_MISMATCH");
  EXPECT_TRUE(Why({1, "", cow, base, ""}).ok());
  fs::remove(base);
  EXPECT_TRUE(Why({1, "", cow, copy, ""}).ok()) << "it was moved";
  fs::remove_all(elsewhere);
}

TEST_F(DiskInspectTest, CowThatWouldPanicTheGuest) {
  std::string base = MakeFile("base", 8192), cow = MakeCow("cow", base);
  std::string other = MakeFile("other", 8192);
  EXPECT_THAT(Text(Why({1, "", cow, other, ""})), HasSubstr("is a COW file of " + base + ", not of " + other));
  EXPECT_THAT(Text(Why({1, "", other, base, ""})), HasSubstr("exists and is not a COW file"));
  EXPECT_EQ(Why({1, "", base, At("./base"), ""}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(Why({1, "", At("cow2"), cow, ""})).reason, "COW_ON_COW");

  auto time = fs::last_write_time(base);
  fs::last_write_time(base, time + std::chrono::hours(1));
  absl::Status modified = Why({1, "", cow, base, ""});
  EXPECT_EQ(modified.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Text(modified), HasSubstr("was modified"));
  EXPECT_THAT(GetErrorDetail(modified).hint, HasSubstr("touch -d @"));

  fs::resize_file(base, 12288);
  fs::last_write_time(base, time);
  EXPECT_THAT(Text(Why({1, "", cow, base, ""})), HasSubstr("had 8192 bytes; now it has 12288"));
  fs::resize_file(base, 8192);
  fs::last_write_time(base, time);
  EXPECT_TRUE(Why({1, "", cow, base, ""}).ok());
  fs::resize_file(cow, 8192);
  EXPECT_THAT(Text(Why({1, "", cow, base, ""})), HasSubstr("cut short"));
}

TEST_F(DiskInspectTest, FilesMovedTogetherStayAPair) {
  std::string base = MakeFile("base", 8192), cow = MakeCow("cow", base);
  fs::rename(base, At("moved"));
  EXPECT_EQ(Look(cow, "", At("moved")).header_backing, base);
  EXPECT_EQ(Why({1, "", cow, base, ""}).code(), absl::StatusCode::kNotFound);
}

// A guest that writes a COW header to its own plain disk must not get to read the file that the header names.
TEST_F(DiskInspectTest, CowWithoutItsBackingIsRefused) {
  std::string base = MakeFile("base", 8192), cow = MakeCow("cow", base);
  absl::Status status = Why(cow);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(GetErrorDetail(status).hint, HasSubstr("ubdb=" + cow + ",BACKING"));
  EXPECT_THAT(GetErrorDetail(status).hint, Not(HasSubstr(base)));
  EXPECT_THAT(GetErrorDetail(status).hint, HasSubstr("ubdbd=" + cow));
  EXPECT_TRUE(Why({1, "d", cow, "", ""}).ok());
}

TEST_F(DiskInspectTest, Conflicts) {
  std::string base = MakeFile("base", 8192), disk = MakeFile("disk", 8192);
  std::string cow1 = MakeCow("cow1", base), cow2 = MakeCow("cow2", base);
  fs::create_hard_link(disk, At("hard"));
  fs::create_symlink(disk, At("soft"));

  EXPECT_TRUE(Conflicts(Look(disk), Look(disk)));
  EXPECT_TRUE(Conflicts(Look(disk), Look(At("hard"))));
  EXPECT_TRUE(Conflicts(Look(disk), Look(At("soft"))));
  EXPECT_FALSE(Conflicts(Look(disk), Look(base)));
  EXPECT_TRUE(Conflicts(Look(disk), Look(disk, "r")));
  EXPECT_FALSE(Conflicts(Look(disk, "r"), Look(disk, "r")));
  EXPECT_FALSE(Conflicts(Look(disk, "c"), Look(disk, "c")));
  EXPECT_TRUE(Conflicts(Look(disk, "c"), Look(disk)));

  EXPECT_FALSE(Conflicts(Look(cow1, "", base), Look(cow2, "", base)));
  EXPECT_TRUE(Conflicts(Look(cow1, "", base), Look(cow1, "", base)));
  EXPECT_TRUE(Conflicts(Look(cow1, "", base), Look(base)));
  EXPECT_TRUE(Conflicts(Look(base), Look(cow1, "", base)));
  EXPECT_TRUE(Conflicts(Look(base, "c"), Look(cow1, "c", base)));
  EXPECT_FALSE(Conflicts(Look(cow1, "", base), Look(base, "r")));
  EXPECT_TRUE(Conflicts(Look(cow1, "d"), Look(cow1, "", base)));

  EXPECT_TRUE(Conflicts(Look(At("new"), "", base), Look(At("new"), "", base)));
  EXPECT_TRUE(Conflicts(Look(At("new"), "", base), Look(At("./new"), "", base)));
  EXPECT_FALSE(Conflicts(Look(At("new"), "", base), Look(At("new2"), "", base)));
  EXPECT_TRUE(Conflicts(Look(At("new"), "", base), Look(base)));
}

}  // namespace
}  // namespace umld::devices
