// Disks that a guest has made to lie: COW headers that name other files or make no sense, partition tables without end,
// and files that change under a guest that runs. umld reads them as its own user, so it must read the files of the
// guest's disks and no other, and come to an end; the user gets a machine or a reason.
#include <endian.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr size_t kHeaderBytes = 4128;
constexpr absl::Duration kSoon = absl::Seconds(3);

// A field of a COW header, in the byte order of the file.
std::string Be32(uint32_t value) {
  value = htobe32(value);
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Be64(uint64_t value) {
  return Be32(static_cast<uint32_t>(value >> 32)) + Be32(static_cast<uint32_t>(value));
}
std::string Le32(uint32_t value) {
  value = htole32(value);
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Who opens a file, while this object lives.
class OpenWatch {
 public:
  explicit OpenWatch(const std::string& path) : fd_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    EXPECT_GE(inotify_add_watch(fd_, path.c_str(), IN_OPEN | IN_ACCESS), 0) << path << ": " << strerror(errno);
  }
  ~OpenWatch() { close(fd_); }
  OpenWatch(const OpenWatch&) = delete;
  OpenWatch& operator=(const OpenWatch&) = delete;
  bool Opened() const {
    char events[4096];
    return read(fd_, events, sizeof(events)) > 0;
  }

 private:
  int fd_;
};

class HostileDisks : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }
  static std::string Read(const std::string& file, size_t size) {
    std::ifstream in(host_->Work(file), std::ios::binary);
    std::string bytes(size, '\0');
    in.read(bytes.data(), static_cast<std::streamsize>(size));
    return bytes;
  }
  static void Write(const std::string& file, size_t offset, const std::string& bytes) {
    const int fd = open(host_->Work(file).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)), static_cast<ssize_t>(bytes.size()));
    close(fd);
  }
  // The header's backing path, as a guest would change it.
  static void Name(const std::string& file, const std::string& path) { Write(file, 32, path + std::string(1, '\0')); }
  // What `describe` says, which must not take long, nor carry what a terminal would obey.
  static std::string Describe(const std::string& guest) {
    const absl::Time before = absl::Now();
    const CommandResult described = host_->Run({"describe", guest});
    EXPECT_LT(absl::Now() - before, kSoon);
    EXPECT_TRUE(Ok(described));
    EXPECT_THAT(described.out, Not(HasSubstr("\x1b")));
    return described.out;
  }
};

TEST_F(HostileDisks, AHeaderNeverLeadsToAnotherFile) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell(
      "truncate -s 1M base others; echo secret >secret; truncate -s 1M secret; mkfifo fifo; mkdir folder")));
  ASSERT_TRUE(host_->Create("victim", {"--disk", "ubdb=others"}));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=evil.cow,base"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  const std::string good = Read("evil.cow", kHeaderBytes);
  ASSERT_EQ(good.substr(32).c_str(), host_->Work("base"));
  ASSERT_TRUE(host_->Create("web2", {"--disk", "ubdb=evil.cow,base"}));

  // The first three are nobody else's business, so that whoever opens them is umld or vmcore.
  const std::string names[] = {host_->Work("secret"), host_->Work("fifo"), host_->Work("folder"),   "/etc/shadow",
                               host_->Work("others"),  // another guest's
                               "/dev/zero",           "/proc/self/mem",    host_->Work("evil.cow"), host_->socket()};
  for (const std::string& name : names) {
    Name("evil.cow", name);
    const OpenWatch watch(host_->Work(&name < names + 3 ? fs::path(name).filename() : "secret"));
    // As a plug, at a start, and through partitions and sizes.
    const CommandResult plugged = host_->Run({"plug", "web1", "ubdb=evil.cow,base"});
    EXPECT_TRUE(Refused(plugged, kWrongState, {"evil.cow is a COW file of " + name})) << name;
    EXPECT_THAT(plugged.err, Not(HasSubstr("ubdb=" + host_->Work("evil.cow") + "," + name)));
    EXPECT_TRUE(Refused(host_->Run({"start", "web2"}), kWrongState, {"web2", "ubdb", "evil.cow"})) << name;
    EXPECT_THAT(Describe("web2"), Not(HasSubstr("secret: ")));
    EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdb=evil.cow"}), kWrongState, {"its backing file is not named"}));
    host_->Run({"plug", "web1", "ubdbd=evil.cow", "--live-only"});
    host_->Run({"unplug", "web1", "ubdb"});
    EXPECT_FALSE(watch.Opened()) << name;
  }
  ASSERT_TRUE(Ok(host_->Run({"delete", "web2"})));
  // The watch would have seen it.
  const OpenWatch watch(host_->Work("secret"));
  ASSERT_TRUE(Ok(host_->Shell("head -c 6 secret")));
  EXPECT_TRUE(watch.Opened());

  // What is not a name of this host changes nothing; what is no text is shown as text, by everybody.
  for (const char* name : {"/nowhere/at/all", "/\xff\xfe\x1b[31mred"}) {
    Name("evil.cow", name);
    EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=evil.cow,base", "--live-only"}))) << name;
    EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb", "--live-only"})));
    Write("evil.cow", 0, good);
  }
  Name("evil.cow", host_->Work("\xff\x1b[31m"));
  ASSERT_TRUE(Ok(host_->Shell("touch \"$(printf '\\377\\033[31m')\"")));
  const CommandResult refused = host_->Run({"plug", "web1", "ubdb=evil.cow,base"});
  EXPECT_TRUE(Refused(refused, kWrongState, {"evil.cow is a COW file of", "?"}));
  EXPECT_THAT(refused.err, Not(HasSubstr("\x1b")));
  EXPECT_TRUE(Ok(host_->Run({"list"})));
  EXPECT_EQ(host_->RunInGuest("web1", "echo well").out, "well\n");
}

TEST_F(HostileDisks, AHeaderThatMakesNoSenseIsSaid) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M base")));
  // As the kernel makes it, without one.
  const fs::path base = host_->Work("base");
  struct stat info = {};
  ASSERT_EQ(stat(base.c_str(), &info), 0);
  std::string good = Be32(0x4f4f4f4d) + Be32(3) + Be32(static_cast<uint32_t>(info.st_mtime)) + Be64(1 << 20) +
                     Be32(512) + Be32(4096) + Be32(0) + base.string();
  good.resize(8192 + 4096);
  auto with = [&good](size_t offset, const std::string& bytes) {
    return good.substr(0, offset) + bytes + good.substr(offset + bytes.size());
  };
  const std::pair<std::string, const char*> files[] = {
      {with(4, Be32(1)), "not of version 3"},
      {with(4, Be32(2)), "not of version 3"},
      {with(4, Be32(4)), "not of version 3"},
      {Le32(0x4f4f4f4d) + good.substr(4), "not of version 3"},
      {with(12, Be64(0)), "is empty"},
      {with(12, Be64(uint64_t{1} << 63)), "too large"},
      {with(12, Be64(~uint64_t{0})), "too large"},
      {with(12, Be64(1 << 19)), "was made when"},
      {with(20, Be32(0)), "0 bytes per sector"},
      {with(20, Be32(3)), "3 bytes per sector"},
      {with(20, Be32(~0U)), "bytes per sector"},
      {with(24, Be32(0)), "alignment 0"},
      {with(24, Be32(1U << 31)), "alignment"},
      {with(28, Be32(7)), "format"},
      {with(32, std::string(4096, 'x')), "path without an end"},
      {with(32, std::string(1, '\0')), "no absolute backing file"},
      {good.substr(0, 20), "cut short"},
      {good.substr(0, 4000), "cut short"},
      {good.substr(0, 8192), "cut short within its bitmap"},
  };
  ASSERT_TRUE(Ok(host_->Shell("touch evil.cow")));
  Write("evil.cow", 0, good);
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdb=evil.cow,base"}));
  EXPECT_THAT(Describe("web1"), Not(HasSubstr("PROBLEM")));
  for (const auto& [bytes, words] : files) {
    ASSERT_TRUE(Ok(host_->Shell("truncate -s 0 evil.cow")));
    Write("evil.cow", 0, bytes);
    EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kWrongState, {"web1", "ubdb", "evil.cow", words}));
    Describe("web1");
  }
}

TEST_F(HostileDisks, APlainDiskThatBecomesACowFile) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M disk; echo secret >secret; truncate -s 1M secret")));
  struct stat info = {};
  ASSERT_EQ(stat(host_->Work("secret").c_str(), &info), 0);
  const std::string header = Be32(0x4f4f4f4d) + Be32(3) + Be32(static_cast<uint32_t>(info.st_mtime)) + Be64(1 << 20) +
                             Be32(512) + Be32(4096) + Be32(0) + host_->Work("secret");
  std::string octal;
  for (unsigned char byte : header) absl::StrAppendFormat(&octal, "\\%03o", byte);
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=disk"}));
  const OpenWatch watch(host_->Work("secret"));
  EXPECT_EQ(host_->RunInGuest("web1", "printf '" + octal + "' >/dev/ubdb; sync; echo $?").out, "0\n");
  EXPECT_EQ(Read("disk", header.size()), header);
  // The kernel believes it at its next open, and does not get far: the file is not in its jail.
  EXPECT_THAT(host_->RunInGuest("web1", "head -c 6 /dev/ubdb").out, Not(HasSubstr("secret")));
  EXPECT_THAT(Describe("web1"), Not(HasSubstr("secret")));
  EXPECT_EQ(host_->RunInGuest("web1", "echo well").out, "well\n");
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kWrongState,
                      {"web1", "ubdb", host_->Work("disk") + " is a COW file, and its backing file is not named"}));
  EXPECT_FALSE(watch.Opened());
}

TEST_F(HostileDisks, PartitionTablesWithoutEnd) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 64M dos gpt")));
  auto entry = [](unsigned char type, uint32_t start, uint32_t sectors) {
    return std::string(4, '\0') + std::string(1, static_cast<char>(type)) + std::string(3, '\0') + Le32(start) +
           Le32(sectors);
  };
  // An extended partition whose links lead back to itself and to each other.
  const std::string end = "\x55\xaa";
  Write("dos", 446, entry(0x05, 8, 1000));
  Write("dos", 510, end);
  for (uint32_t at : {8, 16}) {
    Write("dos", at * 512 + 446, entry(0x83, 1, 4) + entry(0x05, at == 8 ? 8 : 0, 1000));
    Write("dos", at * 512 + 510, end);
  }
  Write("gpt", 446, entry(0xee, 1, ~0U));
  Write("gpt", 510, end);
  std::string header = "EFI PART" + Le32(0x10000) + Le32(92);
  header.resize(512);
  header.replace(24, 4, Le32(1));
  header.replace(72, 4, Le32(2));
  header.replace(80, 8, Le32(~0U) + Le32(~0U));
  Write("gpt", 512, header);
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdb=dos", "--disk", "ubdc=gpt"}));
  const std::string text = Describe("web1");
  EXPECT_THAT(text, HasSubstr("partition table dos"));
  EXPECT_LT(text.size(), 64U * 1024);
}

TEST_F(HostileDisks, AFileThatChangesUnderARunningGuest) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M data base")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=data", "--disk", "ubdc=cow,base"}));
  auto alive = [] { return host_->RunInGuest("web1", "echo well").out == "well\n"; };
  // What is cut off reads as nothing, or not at all.
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M data; truncate -s 5000 cow; truncate -s 0 base")));
  host_->RunInGuest("web1",
                    "cat /dev/ubdb /dev/ubdc >/dev/null; echo x | dd of=/dev/ubdb bs=1M seek=2 conv=notrunc; sync");
  EXPECT_TRUE(alive());
  EXPECT_THAT(Describe("web1"), HasSubstr("base is empty"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 8M data")));
  EXPECT_THAT(Describe("web1"), HasSubstr("the file has grown to 8M"));
  // Other things in their places.
  ASSERT_TRUE(Ok(host_->Shell("mv data old; mkfifo data; rm cow; mkdir cow")));
  EXPECT_THAT(Describe("web1"), AllOf(HasSubstr("data is a FIFO"), HasSubstr("PROBLEM: ")));
  EXPECT_TRUE(alive());
  EXPECT_TRUE(Refused(host_->Run({"disk", "resize", "web1", "ubdb", "16M"}), kUsage, {"data is a FIFO"}));
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdb=data"}), kUsage, {"data is a FIFO"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kWrongState, {"web1", "ubdc", "base is empty"}));
}

}  // namespace
}  // namespace umld::tests
