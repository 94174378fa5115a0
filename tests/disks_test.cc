// Disks of every kind, seen from inside the guest: flags, COW files, host devices, raw data, long paths, partitions,
// and disks that grow.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::ResultOf;
using testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;

class Disks : public SharedHost {
 protected:
  // Among mounts that are not shared, as on a host without systemd, and that no guest of another test sees.
  static void SetUpTestSuite() {
    if (getuid() == 0) {
      ASSERT_EQ(unshare(CLONE_NEWNS), 0);
      ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    }
    SharedHost::SetUpTestSuite();
  }
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }

  static CommandResult Plug(const std::string& spec, const std::string& guest = "web1") {
    return host_->Run({"plug", guest, spec});
  }
  static CommandResult Unplug(const std::string& device) { return host_->Run({"unplug", "web1", device}); }
  static CommandResult Resize(const std::string& size, const std::string& device = "ubdb") {
    return host_->Run({"disk", "resize", "web1", device, size});
  }
  static Json Disk(const std::string& device) { return DiskOf(host_->Describe("web1"), device); }
  static std::string Inside(const std::string& command) { return host_->RunInGuest("web1", command).out; }
  static std::string SectorsInside(const std::string& device) {
    return std::string(absl::StripAsciiWhitespace(Inside("cat /sys/block/" + device + "/size")));
  }
};

// A loop device of the host over a file; none when the host gives no loop devices.
class Loop {
 public:
  Loop(const Host& host, const std::string& options, const std::string& file) : host_(host) {
    const CommandResult made = host_.Shell(absl::StrCat("losetup -f --show ", options, " ", file));
    path_ = std::string(absl::StripAsciiWhitespace(made.out));
    why_ = made.err;
  }
  ~Loop() {
    if (!path_.empty()) {
      EXPECT_TRUE(Ok(host_.Shell("losetup -d " + path_)));
    }
  }
  const std::string& path() const { return path_; }
  const std::string& why() const { return why_; }

 private:
  const Host& host_;
  std::string path_, why_;
};

// Nothing has the block device mounted, in whichever mount namespace.
bool Free(const std::string& device) { return UniqueFd(open(device.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)).ok(); }

TEST_F(Disks, EveryFlagAndTheSerialNumberReachTheKernel) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M a b c d e; echo content | dd of=a conv=notrunc status=none")));
  ASSERT_TRUE(Ok(Plug("ubdbr=a,,SER-1")));
  ASSERT_TRUE(Ok(Plug("ubd2s=b")));
  ASSERT_TRUE(Ok(Plug("ubddt=c")));
  ASSERT_TRUE(Ok(Plug("ubdec=d")));
  ASSERT_TRUE(Ok(Plug("ubdfd=e")));
  EXPECT_EQ(Inside("cat /sys/block/ubdb/ro /sys/block/ubdb/serial; echo; head -n 1 /dev/ubdb"), "1\nSER-1\ncontent\n");
  EXPECT_NE(host_->RunInGuest("web1", "echo x > /dev/ubdb").exit_code, 0);
  EXPECT_EQ(Inside("cat /sys/block/ubdd/queue/discard_max_bytes"), "0\n");
  EXPECT_NE(Inside("cat /sys/block/ubdc/queue/discard_max_bytes; :"), "");
  EXPECT_EQ(Inside("echo synced > /dev/ubdc; head -n 1 /dev/ubdc"), "synced\n");
  EXPECT_THAT(host_->Shell("head -n 1 b").out, "synced\n") << "flag s: written when the guest's write is done";
  for (const char* device : {"ubdb", "ubdc", "ubdd", "ubde", "ubdf"}) EXPECT_TRUE(Ok(Unplug(device))) << device;
  EXPECT_EQ(Inside("ls /sys/block | grep -c ubd"), "1\n");
}

TEST_F(Disks, WhatIsDiscardedTakesNoSpaceOfTheHost) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 16M data.img")));
  ASSERT_TRUE(Ok(Plug("ubdb=data.img")));
  const auto space = [] {
    struct stat info = {};
    EXPECT_EQ(stat(host_->Work("data.img").c_str(), &info), 0);
    return static_cast<uint64_t>(info.st_blocks) * 512;
  };
  EXPECT_EQ(Inside("dd if=/dev/urandom of=/dev/ubdb bs=1M count=8 conv=fsync 2>/dev/null && sync && echo written"),
            "written\n");
  EXPECT_GE(space(), 8 * kMiB);
  EXPECT_EQ(Inside("blkdiscard /dev/ubdb && echo discarded"), "discarded\n");
  EXPECT_LT(space(), kMiB);
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(Inside("tr -d '\\0' </dev/ubdb | wc -c"), "0\n");
}

// Its processes may make no longer files than its disks are: each plug lets them.
TEST_F(Disks, OnesThatAreLongerThanAllBeforeAreWrittenToTheirEnd) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 2G a; truncate -s 3G b; truncate -s 1000000 odd")));
  auto write_end = [&](const char* device) {
    return Inside(absl::StrCat("d=/dev/", device,
                               "; last=$(($(blockdev --getsz $d) - 1)); echo the end | dd of=$d bs=512 seek=$last "
                               "conv=sync,notrunc,fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; "
                               "dd if=$d bs=512 skip=$last 2>/dev/null | head -n 1"));
  };
  ASSERT_TRUE(Ok(Plug("ubdb=a")));
  EXPECT_EQ(write_end("ubdb"), "the end\n");
  // Its processes come and go meanwhile.
  EXPECT_EQ(
      Inside("for i in 1 2 3; do (while [ ! -e /tmp/enough ]; do /bin/true; done) >/dev/null 2>&1 & done; echo on"),
      "on\n");
  ASSERT_TRUE(Ok(host_->Shell("for s in 4 5 6 7 8; do truncate -s ${s}G storm$s; done")));
  for (int size = 4; size <= 8; ++size) {
    EXPECT_TRUE(Ok(Plug(absl::StrCat("ubde=storm", size))));
    EXPECT_TRUE(Ok(Unplug("ubde")));
  }
  EXPECT_EQ(Inside("touch /tmp/enough; echo off"), "off\n");
  ASSERT_TRUE(Ok(Plug("ubdc=b.cow,b")));
  EXPECT_EQ(write_end("ubdc"), "the end\n");
  ASSERT_TRUE(Ok(Plug("ubdd=odd")));
  EXPECT_EQ(write_end("ubdd"), "the end\n");
  ASSERT_TRUE(Ok(host_->Run({"disk", "resize", "web1", "ubdb", "12G"})));
  EXPECT_EQ(write_end("ubdb"), "the end\n");
  EXPECT_EQ(host_->Shell("tail -c 512 a | head -n 1").out, "the end\n");
  EXPECT_EQ(host_->State("web1"), "RUNNING");
}

TEST_F(Disks, ACowFileIsMadeAtThePlugAndKeepsItsBackingFile) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("mke2fs -q base.img 4M && md5sum base.img > sum")));
  ASSERT_TRUE(Ok(Plug("ubdb=new.cow,base.img")));
  EXPECT_TRUE(fs::exists(host_->Work("new.cow")));
  EXPECT_EQ(Disk("ubdb")["size_bytes"], 4 * kMiB);
  EXPECT_EQ(Inside("mount /dev/ubdb /mnt && echo kept > /mnt/f; umount /mnt"), "");
  ASSERT_TRUE(Ok(Unplug("ubdb")));
  ASSERT_TRUE(Ok(Plug("ubdb=new.cow,base.img")));
  EXPECT_EQ(Inside("mount /dev/ubdb /mnt && cat /mnt/f; umount /mnt"), "kept\n");
  EXPECT_TRUE(Ok(host_->Shell("md5sum -c sum")));
}

// Whoever gives a guest a COW disk that its kernel may misread is told: at each verb, on one line, and in describe.
TEST_F(Disks, ACowFileThatMayBeMisreadIsSaid) {
  ASSERT_TRUE(
      Ok(host_->Shell("mke2fs -q -F -t ext4 -b 1024 small.img 8M && mke2fs -q -F -t ext4 -b 4096 large.img 8M && "
                      "truncate -s 16M parts.img && echo 63,,L | sfdisk -q parts.img && cp small.img plain.img")));
  host_->BuildTiny();
  const std::string small = "ubdb: AT RISK: it is ext with blocks of 1024 bytes, ";
  const auto one_warning = [](const std::string& text) {
    return AllOf(StartsWith("warning: " + text), HasSubstr("blocks of 4 KiB"), HasSubstr("umlctl kernel build"),
                 ResultOf([](const std::string& err) { return std::count(err.begin(), err.end(), '\n'); }, 1));
  };
  const CommandResult created = host_->Run({"create", "web1", "--image", "tiny", "--mem", "64M", "--disk",
                                            "ubdb=small.cow,small.img", "--disk", "ubdc=large.cow,large.img"});
  ASSERT_TRUE(Ok(created));
  EXPECT_EQ(created.out, "web1\n");
  EXPECT_THAT(created.err, one_warning(small));
  const CommandResult started = host_->Run({"start", "web1"});
  ASSERT_TRUE(Ok(started));
  EXPECT_EQ(started.out, "web1: started\n");
  EXPECT_THAT(started.err, one_warning(small));
  const CommandResult plugged = Plug("ubdd=parts.cow,parts.img");
  ASSERT_TRUE(Ok(plugged));
  EXPECT_THAT(plugged.err, one_warning("ubdd: AT RISK: partition 1 does not begin on a boundary of 4 KiB, "));
  EXPECT_EQ(Plug("ubde=plain.img").err, "") << "no COW file, no risk";
  for (const char* safe : {"ubda", "ubdc", "ubde"}) EXPECT_EQ(Disk(safe)["risk"], "") << safe;
  EXPECT_THAT(Disk("ubdb")["risk"].get<std::string>(), StartsWith("AT RISK: it is ext with blocks of 1024 bytes, "));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("AT RISK: partition 1 does not begin"));
  // Through the COW file: what its guest has put there counts.
  EXPECT_EQ(Inside("mke2fs -b 1024 /dev/ubdc >/dev/null && sync; echo made"), "made\n");
  EXPECT_THAT(Disk("ubdc")["risk"].get<std::string>(), HasSubstr("blocks of 1024 bytes"));
  // Several guests at once: each line says whose disk it is.
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(host_->Create("web2"));
  EXPECT_THAT(host_->Run({"start", "web1", "web2"}).err,
              AllOf(HasSubstr("warning: web1: " + small), HasSubstr("warning: web1: ubdc: "), Not(HasSubstr("web2"))));
}

TEST_F(Disks, AnImageThatMayBeMisreadIsSaid) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 16M parts.img && echo 63,,L | sfdisk -q parts.img")));
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "old", "parts.img"})));
  const CommandResult created = host_->Run({"create", "web1", "--image", "old", "--mem", "64M"});
  ASSERT_TRUE(Ok(created));
  EXPECT_THAT(created.err, StartsWith("warning: ubda: AT RISK: partition 1 does not begin"));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("AT RISK: partition 1 does not begin"));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"image", "delete", "old"})));
}

// A kernel that says it is one of ours reads them right (tests/fast_kernel_test.cc has it read). Neither that file nor
// the disk's holds anybody up, whatever it has become.
TEST_F(Disks, WhatMayBeMisreadDependsOnTheKernel) {
  ASSERT_TRUE(
      Ok(host_->Shell("mke2fs -q -F -t ext4 -b 1024 small.img 8M && python3 - <<'END'\n"
                      "import re\n"
                      "def ours(m): return b'Linux version 6.1-umld (umld@umld) '.ljust(len(m.group(0)))\n"
                      "kernel = open('/usr/bin/linux.uml', 'rb').read()\n"
                      "open('ours', 'wb').write(re.sub(rb'Linux version \\S+ \\(\\S+\\) ', ours, kernel))\n"
                      "END\n"
                      "chmod 755 ours && cp /usr/bin/linux.uml other")));
  const auto create = [](const std::string& name, const std::string& kernel) {
    return host_->Run(
        {"create", name, "--mem", "64M", "--kernel", kernel, "--disk", absl::StrCat("ubdb=", name, ".cow,small.img")});
  };
  const CommandResult right = create("web1", "./ours");
  ASSERT_TRUE(Ok(right));
  EXPECT_EQ(right.err, "");
  EXPECT_EQ(Disk("ubdb")["risk"], "");
  const CommandResult wrong = create("web2", "./other");
  ASSERT_TRUE(Ok(wrong));
  EXPECT_THAT(wrong.err, HasSubstr("AT RISK"));
  ASSERT_TRUE(Ok(host_->Shell("rm ours other && mkfifo ours && ln -s /dev/zero other")));
  EXPECT_THAT(Disk("ubdb")["risk"].get<std::string>(), HasSubstr("AT RISK")) << "nobody can tell any more";
  EXPECT_THAT(host_->Run({"describe", "web2"}).out, HasSubstr("AT RISK"));
  ASSERT_TRUE(Ok(host_->Shell("rm small.img && mkfifo small.img")));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("PROBLEM: "), HasSubstr("FIFO")));
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kUsage, {"small.img", "FIFO"}));
}

TEST_F(Disks, WhatTheKernelRefusesLeavesNothing) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M base.img gone.img && uml_mkcow lost.cow gone.img && rm gone.img")));
  // As raw data the file is fine, but the kernel takes its size from the backing file all the same.
  EXPECT_TRUE(Refused(Plug("ubdbd=lost.cow"), kNotFound, {"web1", "ubdb", "kernel refuses"}));
  EXPECT_TRUE(Disk("ubdb").is_null());
  EXPECT_EQ(Inside("ls /sys/block | grep -c ubd"), "1\n");
  // Were flag d still there, no COW could be plugged.
  ASSERT_TRUE(Ok(Plug("ubdb=new.cow,base.img")));
  EXPECT_EQ(SectorsInside("ubdb"), "8192");
  EXPECT_TRUE(Ok(Unplug("ubdb")));
}

TEST_F(Disks, TwoGuestsShareAFileWhenBothSaySo) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->CreateAndStart("web2"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M shared.img")));
  ASSERT_TRUE(Ok(Plug("ubdbc=shared.img")));
  EXPECT_TRUE(Refused(Plug("ubdb=shared.img", "web2"), kWrongState, {"web2", "guest web1", "ubdb", "unplug web1"}));
  EXPECT_TRUE(Refused(Plug("ubdbr=shared.img", "web2"), kWrongState, {"guest web1"}));
  ASSERT_TRUE(Ok(Plug("ubdcc=shared.img", "web2")));
  EXPECT_EQ(Inside("echo from web1 > /dev/ubdb; sync"), "");
  EXPECT_EQ(host_->RunInGuest("web2", "head -n 1 /dev/ubdc").out, "from web1\n");
  // It grows for both, each told in its own way.
  const CommandResult grown = Resize("8M");
  ASSERT_TRUE(Ok(grown));
  EXPECT_THAT(grown.out, HasSubstr("umlctl disk resize web2 ubdc 8M"));
  ASSERT_TRUE(Ok(host_->Run({"disk", "resize", "web2", "ubdc", "8M"})));
  EXPECT_EQ(host_->RunInGuest("web2", "cat /sys/block/ubdc/size").out, "16384\n");
}

TEST_F(Disks, DevicesOfTheHost) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 8M file && printf 'label: dos\\n,4M\\n,\\n' | sfdisk -q file")));
  Loop loop(*host_, "-P", "file");
  if (loop.path().empty()) GTEST_SKIP() << "this host gives no loop devices: " << loop.why();
  ASSERT_TRUE(Ok(Plug("ubdb=" + loop.path())));
  EXPECT_EQ(SectorsInside("ubdb"), "16384");
  EXPECT_EQ(Inside("ls /sys/block/ubdb | grep ubdb"), "ubdb1\nubdb2\n");
  EXPECT_EQ(Disk("ubdb")["partitions"].size(), 2u);
  EXPECT_TRUE(Refused(Plug("ubdb=" + loop.path(), "web2"), kWrongState, {"guest web1", "ubdb"}));
  EXPECT_TRUE(Refused(Resize("16M"), kWrongState, {"web1", "ubdb", "device of the host", "losetup -c"}));
  ASSERT_TRUE(Ok(Unplug("ubdb")));

  // A partition of it. The host's kernel may know no partition tables, and have no nodes: both are made by hand.
  const std::string name = fs::path(loop.path()).filename();
  const std::string sysfs = absl::StrCat("/sys/block/", name, "/", name, "p1/dev");
  if (!fs::exists(sysfs)) {
    ASSERT_TRUE(Ok(host_->Shell("partx -a " + loop.path())));
  }
  std::ifstream numbers(sysfs);
  unsigned major = 0, minor = 0;
  char colon = 0;
  ASSERT_TRUE(numbers >> major >> colon >> minor);
  const std::string part = host_->Work("part1");
  ASSERT_EQ(mknod(part.c_str(), S_IFBLK | 0600, makedev(major, minor)), 0);
  ASSERT_TRUE(Ok(Plug("ubdc=" + part)));
  EXPECT_EQ(SectorsInside("ubdc"), "8192");
  EXPECT_EQ(Inside("mke2fs /dev/ubdc >/dev/null && mount /dev/ubdc /mnt && echo on it > /mnt/f; umount /mnt"), "");
  ASSERT_TRUE(Ok(Unplug("ubdc")));
  EXPECT_THAT(host_->Shell("debugfs -R 'cat /f' part1").out, HasSubstr("on it"));
  // Not while the host uses it.
  ASSERT_TRUE(Ok(host_->Shell("mkdir mnt && mount part1 mnt")));
  EXPECT_TRUE(Refused(Plug("ubdc=" + part), kWrongState, {"part1", "in use by the host", "unmount"}));
  EXPECT_TRUE(Ok(host_->Shell("umount mnt")));
  EXPECT_TRUE(Ok(host_->Shell("partx -d " + loop.path())));
}

TEST_F(Disks, OnFileSystemsThatComeAndGo) {
  ASSERT_TRUE(Ok(host_->Shell("mkdir before after && mke2fs -q -t ext4 fs.img 16M")));
  Loop loop(*host_, "", "fs.img");
  if (loop.path().empty()) GTEST_SKIP() << "this host gives no loop devices: " << loop.why();
  // A guest that starts meanwhile does not keep in use what it has nothing of.
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("mount ", loop.path(), " before"))));
  EXPECT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_TRUE(Ok(host_->Shell("umount before")));
  EXPECT_TRUE(Free(loop.path())) << loop.path() << " is still mounted somewhere";
  // What is mounted while it runs has disks for it.
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("mount ", loop.path(), " after && truncate -s 4M after/disk"))));
  EXPECT_TRUE(Ok(Plug("ubdb=after/disk")));
  EXPECT_EQ(SectorsInside("ubdb"), "8192");
  EXPECT_TRUE(Ok(Unplug("ubdb")));
  EXPECT_TRUE(Ok(host_->Shell("umount after")));
  EXPECT_TRUE(Free(loop.path())) << loop.path() << " is still mounted somewhere";
}

TEST_F(Disks, ReadOnlyDevicesOfTheHost) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("mke2fs -q cd.img 4M && echo text > f && debugfs -w -R 'write f f' cd.img")));
  Loop loop(*host_, "-r", "cd.img");
  if (loop.path().empty()) GTEST_SKIP() << "this host gives no loop devices: " << loop.why();
  EXPECT_TRUE(Refused(Plug("ubdb=" + loop.path()), kWrongState, {"web1", "ubdb", "read-only device", "flag r"}));
  ASSERT_TRUE(Ok(Plug("ubdbr=" + loop.path())));
  EXPECT_EQ(Inside("mount -o ro /dev/ubdb /mnt && cat /mnt/f; umount /mnt"), "text\n");
  ASSERT_TRUE(Ok(Unplug("ubdb")));
  ASSERT_TRUE(Ok(Plug("ubdb=over.cow," + loop.path())));
  EXPECT_EQ(Inside("mount /dev/ubdb /mnt && echo new > /mnt/f; cat /mnt/f; umount /mnt"), "new\n");
  ASSERT_TRUE(Ok(Unplug("ubdb")));
}

TEST_F(Disks, AnyFileAsRawDataWithItsPaddingExplained) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("mkdir etc && echo tarred > etc/f && tar cf etc.tar etc && printf 12345 >> etc.tar")));
  ASSERT_TRUE(Ok(Plug("ubdd=etc.tar")));
  EXPECT_EQ(Inside("cd /tmp && tar xf /dev/ubdd && cat etc/f"), "tarred\n");
  const Json disk = Disk("ubdd");
  const uint64_t file_bytes = fs::file_size(host_->Work("etc.tar"));
  EXPECT_EQ(disk["file_bytes"], file_bytes);
  EXPECT_EQ(disk["padding_bytes"], 507);
  EXPECT_EQ(disk["size_bytes"], file_bytes + 507);
  EXPECT_EQ(SectorsInside("ubdd"), absl::StrCat((file_bytes + 507) / 512));
  EXPECT_EQ(Inside("tail -c 512 /dev/ubdd | tr '\\0' z | head -c 10"), "12345zzzzz");
  EXPECT_THAT(host_->Run({"describe", "web1"}).out,
              HasSubstr(absl::StrCat("the file has ", file_bytes,
                                     " bytes; a disk has whole sectors of 512, so 507 zeros follow it")));
  ASSERT_TRUE(Ok(host_->Shell("rm etc.tar")));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("PROBLEM: "));
}

TEST_F(Disks, PathsAsLongAsTheHosts) {
  // As long as a path can be.
  std::string folder = host_->work();
  while (folder.size() + 201 + 10 < 4095) folder += "/" + std::string(200, 'd');
  folder += "/" + std::string(4095 - 9 - folder.size() - 1, 'e');
  std::string relative = folder.substr(host_->work().size() + 1);
  // mkdir -p goes step by step, each of them short.
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("mkdir -p ", relative, " && truncate -s 4M ", relative, "/base.img"))));
  const std::string base = folder + "/base.img", cow = folder + "/cow";
  ASSERT_EQ(base.size(), 4095u);
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=" + cow + "," + base}));
  EXPECT_EQ(Inside("echo by its links > /dev/ubdb; sync"), "");
  const std::string value = cow + "," + base;
  EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, value + "\n");
  EXPECT_THAT(host_->UmlMconsole({"web1", "config", "ubdb"}).out, HasSubstr(value));
  EXPECT_EQ(Disk("ubdb")["path"], cow);
  EXPECT_EQ(Disk("ubdb")["size_bytes"], 4 * kMiB);
  // The COW's header holds the user's path, not ours.
  std::ifstream file(cow);
  std::string header(4128, '\0');
  file.read(header.data(), 4128);
  EXPECT_EQ(header.substr(32).c_str(), base);
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"})));
  EXPECT_EQ(Inside("head -n 1 /dev/ubdb"), "by its links\n");
  ASSERT_TRUE(Ok(Unplug("ubdb")));
  // And while it runs.
  ASSERT_TRUE(Ok(Plug("ubdc=" + value)));
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(Inside("head -n 1 /dev/ubdc"), "by its links\n");
  ASSERT_TRUE(Ok(Unplug("ubdc")));
  // Errors about such paths arrive too, cut where nobody misses it.
  EXPECT_TRUE(Refused(Plug("ubdc=" + folder + "/none.img"), kNotFound, {"web1", "ubdc", "none.img does not exist"}));
  EXPECT_TRUE(Refused(Plug("ubdc=" + folder + "/longer.img"), kUsage, {"4095"}));
}

TEST_F(Disks, PartitionsInsideAndInDescribe) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(
      Ok(host_->Shell("truncate -s 16M dos gpt && printf 'label: dos\\n,2M,82\\n,,5\\n,4M,83\\n,,L\\n' | sfdisk -q "
                      "dos && printf 'label: gpt\\nsize=4M,type=L,name=root\\n' | sfdisk -q gpt")));
  ASSERT_TRUE(Ok(Plug("ubdb=dos")));
  ASSERT_TRUE(Ok(Plug("ubdc=gpt")));
  EXPECT_EQ(Inside("ls /sys/block/ubdb | grep ubdb"), "ubdb1\nubdb2\nubdb5\nubdb6\n");
  std::vector<std::string> names;
  const Json dos = Disk("ubdb");
  for (const Json& partition : dos["partitions"]) names.push_back(partition["name"]);
  EXPECT_THAT(names, ElementsAre("ubdb1", "ubdb2", "ubdb5", "ubdb6"));
  EXPECT_EQ(Inside("cat /sys/block/ubdb/ubdb5/start /sys/block/ubdb/ubdb5/size"),
            absl::StrCat(Disk("ubdb")["partitions"][2]["start_bytes"].get<uint64_t>() / 512, "\n",
                         Disk("ubdb")["partitions"][2]["size_bytes"].get<uint64_t>() / 512, "\n"));
  EXPECT_EQ(Disk("ubdc")["partition_table"], "gpt");
  EXPECT_EQ(Disk("ubdc")["partitions"][0]["label"], "root");
  const std::string text = host_->Run({"describe", "web1"}).out;
  EXPECT_THAT(text, HasSubstr("partition table dos"));
  EXPECT_THAT(text, HasSubstr("2 MiB from 1 MiB on, Linux swap"));
  EXPECT_THAT(text, HasSubstr("Linux filesystem, \"root\""));
  // Also what a guest writes itself, and through a COW.
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 8M empty")));
  ASSERT_TRUE(Ok(Plug("ubdd=cow,empty")));
  EXPECT_EQ(Disk("ubdd")["partition_table"], "");
  EXPECT_EQ(
      host_->RunInGuest("web1", "printf 'n\\np\\n1\\n\\n+2M\\nw\\n' | fdisk /dev/ubdd >/dev/null; sync").exit_code, 0);
  EXPECT_EQ(Disk("ubdd")["partitions"].size(), 1u) << Disk("ubdd");
}

TEST_F(Disks, GrowAndTheGuestSeesIt) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M data.img")));
  ASSERT_TRUE(Ok(Plug("ubdb=data.img,,S1")));
  EXPECT_EQ(Inside("echo first > /dev/ubdb; sync"), "");
  const CommandResult grown = Resize("8M");
  ASSERT_TRUE(Ok(grown));
  EXPECT_THAT(grown.out, HasSubstr(absl::StrCat(host_->Work("data.img"), " grew from 4M to 8M; the guest sees it")));
  EXPECT_EQ(SectorsInside("ubdb"), "16384");
  EXPECT_EQ(Inside("cat /sys/block/ubdb/serial; echo; head -n 1 /dev/ubdb"), "S1\nfirst\n");
  // In use: the file grows, and what remains is said and works.
  EXPECT_EQ(Inside("mke2fs /dev/ubdb >/dev/null && mount /dev/ubdb /mnt && echo precious > /mnt/f"), "");
  const CommandResult busy = Resize("16M");
  ASSERT_TRUE(Ok(busy));
  EXPECT_THAT(busy.out, HasSubstr("umount /dev/ubdb"));
  EXPECT_THAT(busy.out, HasSubstr("umlctl disk resize web1 ubdb 16M"));
  EXPECT_EQ(fs::file_size(host_->Work("data.img")), 16 * kMiB);
  EXPECT_EQ(SectorsInside("ubdb"), "16384");
  EXPECT_EQ(Disk("ubdb")["size_bytes"], 8 * kMiB);
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("the file has grown to 16M: umlctl disk resize"));
  EXPECT_EQ(Inside("cat /mnt/f; umount /mnt"), "precious\n");
  EXPECT_THAT(Resize("16M").out, HasSubstr("has 16M; the guest sees it"));
  EXPECT_EQ(SectorsInside("ubdb"), "32768");
  EXPECT_EQ(Inside("mount /dev/ubdb /mnt && cat /mnt/f; umount /mnt"), "precious\n");
  // A guest that does not run.
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_THAT(Resize("20M").out, HasSubstr("from its next start on"));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(SectorsInside("ubdb"), "40960");
}

TEST_F(Disks, WhatDoesNotGrow) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M data.img base.img ro.img")));
  ASSERT_TRUE(Ok(Plug("ubdb=data.img")));
  ASSERT_TRUE(Ok(Plug("ubdc=new.cow,base.img")));
  ASSERT_TRUE(Ok(Plug("ubddr=ro.img")));
  const Json before = host_->Describe("web1");
  EXPECT_TRUE(Refused(Resize("2M"), kWrongState, {"web1", "ubdb", "cut off", "last 2M"}));
  EXPECT_TRUE(Refused(Resize("0"), kWrongState, {"cut off"}));
  EXPECT_TRUE(Refused(Resize("8M", "ubdc"), kWrongState, {"new.cow", "base.img", "uml_moo"}));
  EXPECT_TRUE(Refused(Resize("1G", "ubda"), kWrongState, {"ubda.cow", "uml_moo"}));
  EXPECT_TRUE(Refused(Resize("8M", "ubdd"), kWrongState, {"read-only"}));
  EXPECT_TRUE(Refused(Resize("8M", "ubde"), kNotFound, {"web1", "ubde"}));
  EXPECT_TRUE(Refused(Resize("8M", "sda"), kUsage, {"ubda to ubdp"}));
  EXPECT_TRUE(Refused(Resize("lots"), kUsage, {"lots"}));
  EXPECT_TRUE(Refused(Resize("4000000T"), kUsage, {}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "resize", "nobody", "ubdb", "8M"}), kNotFound, {"nobody"}));
  EXPECT_EQ(host_->Describe("web1"), before);
}

TEST_F(Disks, KilledWhileItGrows) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M data.img")));
  ASSERT_TRUE(Ok(Plug("ubdb=data.img")));
  EXPECT_EQ(Inside("echo first > /dev/ubdb; sync"), "");
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (uint64_t mib = 5; mib < 13; ++mib) {
    const std::string size = absl::StrCat(mib, "M");
    std::unique_ptr<Running> resize = host_->RunBeside({"disk", "resize", "web1", "ubdb", size});
    absl::SleepFor(absl::Milliseconds(random() % 60));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    // A client that was under way asks the next umld the same again, and it is done once and wholly. One that had not
    // reached the old umld gives up, and has asked for nothing.
    const std::optional<int> exit_code = resize->Wait();
    if (exit_code != kOk) {
      ASSERT_EQ(exit_code, kUnreachable) << resize->err();
      ASSERT_TRUE(Ok(Resize(size)));
    }
    ASSERT_TRUE(WaitFor([&] { return host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out.empty(); }));
    EXPECT_EQ(fs::file_size(host_->Work("data.img")), mib * kMiB);
    EXPECT_EQ(SectorsInside("ubdb"), absl::StrCat(mib * 2048));
    const Json disk = Disk("ubdb");
    EXPECT_EQ(disk["plugged"], true);
    EXPECT_EQ(disk["persistent"], true);
    EXPECT_EQ(disk["size_bytes"], mib * kMiB);
  }
  EXPECT_EQ(Inside("head -n 1 /dev/ubdb"), "first\n");
}

}  // namespace
}  // namespace umld::tests
