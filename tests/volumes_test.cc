// Volumes: written by one guest, resized, read by another, written out and in again, with checksums made inside; and
// what is left when somebody kills umld or the disk is full: the old or the new, whole.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr uint64_t kMiB = uint64_t{1} << 20;

// Writes noise into the mounted volume and prints its checksum.
constexpr char kFill[] =
    "mount /dev/ubdb /mnt && dd if=/dev/urandom of=/mnt/noise bs=64k count=200 2>/dev/null && sync && "
    "sha256sum </mnt/noise && umount /mnt";
constexpr char kRead[] = "mount -o ro /dev/ubdb /mnt && sha256sum </mnt/noise && umount /mnt";

class VolumesTest : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    for (const Json& volume : List()) {
      const std::string name = volume["name"];
      EXPECT_TRUE(Ok(host_->Run({"volume", "delete", name.substr(name.find('/') + 1)})));
    }
    EXPECT_THAT(Files(), IsEmpty()) << "files that no volume needs";
  }

  static Json List() { return Json::parse(host_->Run({"volume", "list", "-o", "json"}).out); }
  static Json Volume(const std::string& name) {
    return Json::parse(host_->Run({"volume", "describe", name, "-o", "json"}).out);
  }
  static std::vector<std::string> Files() {
    std::vector<std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(host_->state_dir() + "/volumes", error)) {
      files.push_back(entry.path().filename());
    }
    return files;
  }
  static CommandResult Fsck(const std::string& name) {
    return host_->Shell("e2fsck -fn " + Volume(name)["path"].get<std::string>());
  }
  // A guest with the volume, and what the command prints in it.
  static std::string InGuest(const std::string& guest, const std::string& disk, const std::string& command) {
    EXPECT_TRUE(host_->CreateAndStart(guest, {"--disk", disk}));
    return host_->RunInGuest(guest, command).out;
  }
  static void StopAndDelete(const std::string& guest) {
    EXPECT_TRUE(Ok(host_->Run({"stop", guest})));
    EXPECT_TRUE(Ok(host_->Run({"delete", guest})));
  }
};

TEST_F(VolumesTest, OutlivesItsGuests) {
  const CommandResult created = host_->Run({"volume", "create", "data", "--size", "64M", "--format", "ext4"});
  ASSERT_TRUE(Ok(created));
  EXPECT_EQ(created.out, "data: created\n");
  EXPECT_LT(Volume("data")["allocated_bytes"].get<uint64_t>(), 4 * kMiB);
  EXPECT_EQ(Volume("data")["format"], "VOLUME_EXT4");
  const std::string sum = InGuest("web1", "ubdb=volume:data", kFill);
  EXPECT_EQ(sum.size(), 68u) << sum;
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("ubdb=volume:data"), Not(HasSubstr("PROBLEM"))));
  EXPECT_EQ(host_->Run({"config", "web1", "ubdb"}).out, "volume:data\n");
  EXPECT_EQ(host_->UmlMconsole({"web1", "config", "ubdb"}).out, "OK volume:data\n");
  EXPECT_EQ(Volume("data")["guests"], Json({"web1"}));

  EXPECT_TRUE(Refused(host_->Run({"volume", "delete", "data"}), kWrongState, {"data", "web1"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web2", "--image", "tiny", "--disk", "ubdb=volume:data"}), kWrongState,
                      {"volume:data", "web1", "ubdb"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  EXPECT_TRUE(Refused(host_->Run({"volume", "delete", "data"}), kWrongState, {"data", "web1"}));
  // A reset makes the root disk new, and nothing else; nor does a deletion.
  ASSERT_TRUE(Ok(host_->Run({"reset", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", kRead).out, sum);
  StopAndDelete("web1");
  EXPECT_TRUE(Ok(Fsck("data")));

  // Two readers at once; a third that would write is refused. Plugged and unplugged by name.
  EXPECT_EQ(InGuest("web2", "ubdbr=volume:data", kRead), sum);
  ASSERT_TRUE(host_->CreateAndStart("web3"));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web3", "ubdbr=volume:data"})));
  EXPECT_EQ(host_->RunInGuest("web3", kRead).out, sum);
  EXPECT_TRUE(Refused(host_->Run({"plug", "web3", "ubdc=volume:data"}), kWrongState, {"volume:data"}));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web3", "ubdb"})));
  // The old tool takes what it is given for a path; a volume's own path will do.
  EXPECT_EQ(host_->UmlMconsole({"web3", "config", "ubdbr=" + Volume("data")["path"].get<std::string>()}).out, "OK \n");
  EXPECT_EQ(host_->RunInGuest("web3", kRead).out, sum);
  // A new umld knows it all.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(Volume("data")["guests"], Json({"web2", "web3"}));
  EXPECT_EQ(host_->Run({"config", "web2", "ubdb"}).out, "volume:data\n");
}

TEST_F(VolumesTest, GrowsWithWhatIsOnIt) {
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "data", "--size", "48M", "--format", "ext4"})));
  const std::string sum = InGuest("web1", "ubdb=volume:data", kFill);
  // Under the guest that runs, which is told what to do.
  const CommandResult live = host_->Run({"volume", "resize", "data", "96M"});
  ASSERT_TRUE(Ok(live));
  EXPECT_THAT(live.out, AllOf(HasSubstr("has 96M"), HasSubstr("resize2fs /dev/ubdb")));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /sys/block/ubdb/size").out, absl::StrCat(96 * kMiB / 512, "\n"));
  EXPECT_EQ(host_->RunInGuest("web1", kRead).out, sum);
  EXPECT_TRUE(Refused(host_->Run({"volume", "resize", "data", "64M"}), kWrongState, {"64M", "shrink"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  // Offline, with the filesystem; to the size that the file has already, too.
  for (const char* size : {"96M", "1G"}) {
    const CommandResult resized = host_->Run({"volume", "resize", "data", size});
    EXPECT_EQ(resized.out, absl::StrCat("data: has ", size, "\n")) << resized;
    EXPECT_TRUE(Ok(Fsck("data")));
  }
  EXPECT_TRUE(Refused(host_->Run({"volume", "resize", "data", "96M"}), kWrongState, {"1G", "96M", "shrink"}));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", kRead).out, sum);
  const std::string blocks =
      host_->RunInGuest("web1", "mount -o ro /dev/ubdb /mnt; df -m /mnt | awk 'END{print $2}'; umount /mnt").out;
  EXPECT_GT(std::stoi(blocks), 900);
  bool told = false;
  for (const Json& event : host_->Events()) told = told || event["type"] == "volume.resized";
  EXPECT_TRUE(told);

  // Swap.
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "swap", "--size", "16M", "--format", "swap"})));
  ASSERT_TRUE(Ok(host_->Run({"volume", "resize", "swap", "32M"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdc=volume:swap"})));
  EXPECT_EQ(host_->RunInGuest("web1", "swapon /dev/ubdc && awk '/ubdc/{print $3}' /proc/swaps; swapoff /dev/ubdc").out,
            absl::StrCat(32 * 1024 - 4, "\n"));
}

TEST_F(VolumesTest, OutAndInAgainIsTheSame) {
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "data", "--size", "1G", "--format", "ext4"})));
  const std::string sum = InGuest("web1", "ubdb=volume:data", kFill);
  EXPECT_TRUE(Refused(host_->Run({"volume", "export", "data", "out.raw"}), kWrongState, {"data", "web1", "stop"}));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"volume", "export", "data", "paused.raw"})));
  ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  StopAndDelete("web1");
  ASSERT_TRUE(Ok(host_->Run({"volume", "export", "data", "out.raw"})));
  EXPECT_TRUE(Refused(host_->Run({"volume", "export", "data", "out.raw"}), kBusyOrExists, {"out.raw"}));
  EXPECT_TRUE(Ok(host_->Shell("cmp out.raw " + Volume("data")["path"].get<std::string>())));
  EXPECT_TRUE(
      Ok(host_->Shell("e2fsck -fn out.raw && test $(stat -c %s out.raw) = 1073741824 && "
                      "test $(($(stat -c %b out.raw) * 512)) -lt 40000000")))
      << "it is sparse";
  ASSERT_TRUE(Ok(host_->Shell("qemu-img convert -O qcow2 out.raw out.qcow2")));
  for (const char* file : {"out.raw", "paused.raw", "out.qcow2"}) {
    SCOPED_TRACE(file);
    ASSERT_TRUE(Ok(host_->Run({"volume", "import", "again", file})));
    EXPECT_EQ(Volume("again")["size_bytes"], 1024 * kMiB);
    EXPECT_LT(Volume("again")["allocated_bytes"].get<uint64_t>(), 40 * kMiB);
    EXPECT_THAT(Volume("again")["description"].get<std::string>(), HasSubstr(file));
    EXPECT_EQ(InGuest("web2", "ubdb=volume:again", kRead), sum);
    StopAndDelete("web2");
    EXPECT_TRUE(Ok(Fsck("again")));
    ASSERT_TRUE(Ok(host_->Run({"volume", "delete", "again"})));
  }
}

TEST_F(VolumesTest, BadInput) {
  const auto create = [](const std::string& name, const std::string& size) {
    return host_->Run({"volume", "create", name, "--size", size});
  };
  ASSERT_TRUE(Ok(create("data", "1M")));
  EXPECT_TRUE(Refused(create("data", "1M"), kBusyOrExists, {"data"}));
  EXPECT_TRUE(Refused(create("a:b", "1M"), kUsage, {"a:b"}));
  EXPECT_TRUE(Refused(create(std::string(65, 'x'), "1M"), kUsage, {"xxx"}));
  EXPECT_TRUE(Refused(create("none", "0"), kUsage, {"none"}));
  EXPECT_TRUE(Refused(create("none", "4K"), kUsage, {"1M"}));
  EXPECT_TRUE(Refused(create("none", "7E"), kUsage, {"7 EiB"}));
  EXPECT_TRUE(Refused(create("none", "4000000T"), kUsage, {"none"}));
  EXPECT_EQ(host_->Run({"volume", "create", "none", "--size", "1M", "--format", "xfs"}).exit_code, kUsage);
  EXPECT_TRUE(Refused(host_->Run({"volume", "describe", "none"}), kNotFound, {"none"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "delete", "none"}), kNotFound, {"none"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "resize", "none", "2M"}), kNotFound, {"none"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "export", "none", "x"}), kNotFound, {"none"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--disk", "ubdb=volume:none"}), kNotFound, {"none", "create"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--disk", "ubdb=volume:../umld"}), kUsage, {"../umld"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--disk", "ubdb=volume:data,/etc/passwd"}), kUsage, {"data"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "export", "data", "no/such/folder"}), kNotFound, {"no/such"}));
  ASSERT_TRUE(Ok(host_->Shell("mkfifo fifo; mkdir -p folder; : >empty; echo text >text; ln -s text link")));
  const auto import = [](const std::string& source) { return host_->Run({"volume", "import", "in", source}); };
  EXPECT_TRUE(Refused(import("nothing"), kNotFound, {"nothing"}));
  EXPECT_TRUE(Refused(import("fifo"), kUsage, {"fifo"}));
  EXPECT_TRUE(Refused(import("folder"), kUsage, {"folder"}));
  EXPECT_TRUE(Refused(import("empty"), kUsage, {"empty"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "import", "in", "text", "--format", "qcow2"}), kUsage, {"text"}));
  EXPECT_TRUE(Refused(host_->Run({"volume", "export", "data", "link"}), kBusyOrExists, {"link"}));
  EXPECT_EQ(List().size(), 1u);
  // A file that somebody put there is not taken for a volume, nor lost.
  ASSERT_TRUE(Ok(host_->Shell("echo precious >" + host_->state_dir() + "/volumes/mine.img")));
  EXPECT_TRUE(Refused(create("mine", "1M"), kBusyOrExists, {"mine.img"}));
  host_->Stop();
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(Ok(host_->Shell("grep precious " + host_->state_dir() + "/volumes/mine.img && rm " + host_->state_dir() +
                              "/volumes/mine.img")));
  // A volume whose file was taken away says so.
  const std::string path = Volume("data")["path"];
  ASSERT_TRUE(Ok(host_->Shell("mv " + path + " away")));
  EXPECT_THAT(host_->Run({"volume", "list"}).out, HasSubstr("PROBLEM"));
  EXPECT_TRUE(Refused(host_->Run({"volume", "resize", "data", "2M"}), kNotFound, {path}));
}

TEST_F(VolumesTest, MoreIsPromisedThanThereIs) {
  EXPECT_EQ(host_->Run({"volume", "list"}).err, "");
  const CommandResult created = host_->Run({"volume", "create", "huge", "--size", "10T", "--format", "ext4"});
  ASSERT_TRUE(Ok(created));
  EXPECT_THAT(created.err, AllOf(HasSubstr("warning:"), HasSubstr("left")));
  const CommandResult list = host_->Run({"volume", "list"});
  ASSERT_TRUE(Ok(list));
  EXPECT_THAT(list.err, HasSubstr("warning:"));
  EXPECT_THAT(list.out, Not(HasSubstr("warning")));
}

TEST_F(VolumesTest, KilledInTheMiddle) {
  // Noise, so that it takes a while.
  ASSERT_TRUE(Ok(host_->Shell("head -c 400M /dev/urandom >big")));
  for (const auto& [syscall, nth] : std::vector<std::pair<std::string, int>>{{"pwrite64", 30}, {"renameat2", 1}}) {
    SCOPED_TRACE(absl::StrCat(syscall, " ", nth));
    ASSERT_TRUE(host_->KillAt(syscall, nth));
    const auto import = host_->RunBeside({"volume", "import", "big", "big"});
    ASSERT_TRUE(host_->WaitForKill());
    EXPECT_FALSE(Files().empty());
    ASSERT_TRUE(host_->Start());
    EXPECT_NE(import->Wait(), 0);
    EXPECT_THAT(Files(), IsEmpty());
    EXPECT_THAT(List(), IsEmpty());
  }
  {
    ASSERT_TRUE(host_->HoldAt("pwrite64", 30));
    const auto import = host_->RunBeside({"volume", "import", "big", "big"});
    ASSERT_TRUE(WaitFor([] { return !Files().empty(); }));
    EXPECT_TRUE(Refused(host_->Run({"create", "web9", "--disk", "ubdb=volume:big"}), kNotFound, {"big"}));
    EXPECT_TRUE(Refused(host_->Run({"volume", "create", "big", "--size", "1M"}), kWrongState, {"big", "being made"}));
    host_->LetGo();
    EXPECT_EQ(import->Wait(absl::Seconds(120)), 0);
  }
  for (const auto& [syscall, nth] : std::vector<std::pair<std::string, int>>{{"pwrite64", 30}, {"linkat", 1}}) {
    SCOPED_TRACE(absl::StrCat(syscall, " ", nth));
    ASSERT_TRUE(host_->KillAt(syscall, nth));
    const auto out = host_->RunBeside({"volume", "export", "big", "copy"});
    ASSERT_TRUE(host_->WaitForKill());
    ASSERT_TRUE(host_->Start());
    EXPECT_NE(out->Wait(), 0);
    EXPECT_TRUE(Ok(host_->Shell("test ! -e copy")));
  }
  std::filesystem::remove(host_->Work("big"));
  std::filesystem::remove(host_->Work("copy"));

  // A resize is finished by the next umld, whenever the last one went.
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "data", "--size", "64M", "--format", "ext4"})));
  const std::string sum = InGuest("web1", "ubdb=volume:data", kFill);
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  int gib = 50;
  // Nothing has been done; the file has grown; its filesystem is being checked, and grown; all is done, and not
  // committed.
  for (const auto& [syscall, nth] : std::vector<std::pair<std::string, int>>{
           {"ftruncate", 1}, {"fsync", 1}, {"poll", 1}, {"wait4", 1}, {"wait4", 2}, {"fsync", 2}}) {
    SCOPED_TRACE(absl::StrCat(syscall, " ", nth));
    const std::string size = absl::StrCat(gib += 50, "G");
    ASSERT_TRUE(host_->KillAt(syscall, nth));
    const auto resize = host_->RunBeside({"volume", "resize", "data", size});
    ASSERT_TRUE(host_->WaitForKill());
    ASSERT_TRUE(host_->Start());
    EXPECT_EQ(resize->Wait(), 0) << resize->err();
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    EXPECT_EQ(Volume("data")["size_bytes"], static_cast<uint64_t>(gib) * 1024 * kMiB);
    EXPECT_TRUE(Ok(Fsck("data")));
  }
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", kRead).out, sum);
}

// All that umld has is on a disk that fills up.
TEST(VolumesOnAFullDisk, LoseNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a small filesystem, which only root can mount";
  Host host;
  std::filesystem::create_directories(host.state_dir());
  ASSERT_EQ(mount("none", host.state_dir().c_str(), "tmpfs", 0, "size=160m,mode=0700"), 0);
  const auto files = [&] { return host.Shell("ls -A " + host.state_dir() + "/volumes").out; };
  const auto size = [&] {
    return Json::parse(host.Run({"volume", "describe", "data", "-o", "json"}).out)["size_bytes"].get<uint64_t>();
  };
  if (host.Start()) {
    ASSERT_TRUE(Ok(host.Run({"volume", "create", "data", "--size", "64M", "--format", "ext4"})));
    // What it writes to its disks is memory here, and counts as the guest's.
    ASSERT_TRUE(host.CreateAndStart("web1", {"--disk", "ubdb=volume:data", "--memory-max", "512M"}));
    const std::string sum = host.RunInGuest("web1", kFill).out;
    ASSERT_TRUE(Ok(host.Run({"stop", "web1"})));

    EXPECT_TRUE(Ok(host.Shell("head -c 200M /dev/urandom >noise")));
    EXPECT_TRUE(Refused(host.Run({"volume", "import", "noise", "noise"}), kBusyOrExists, {"kept for guests"}));
    EXPECT_EQ(files(), "data.img\n");
    // All but a little, for the database: no room for a filesystem's tables.
    ASSERT_TRUE(Ok(
        host.Shell("cat noise >" + host.state_dir() + "/filler; truncate -s -700K " + host.state_dir() + "/filler")));
    const CommandResult created = host.Run({"volume", "create", "more", "--size", "400G", "--format", "ext4"});
    EXPECT_NE(created.exit_code, 0) << created;
    const CommandResult resized = host.Run({"volume", "resize", "data", "400G"});
    EXPECT_NE(resized.exit_code, 0) << resized;
    ASSERT_TRUE(Ok(host.Shell("rm " + host.state_dir() + "/filler noise")));
    EXPECT_EQ(files(), "data.img\n");
    EXPECT_EQ(size(), 64 * kMiB);
    EXPECT_TRUE(Ok(host.Shell("e2fsck -fn " + host.state_dir() + "/volumes/data.img")));
    ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
    EXPECT_EQ(host.RunInGuest("web1", kRead).out, sum);

    // A guest that fills its volume, as fast as a disk takes it (this one is memory), is paused before the disk is
    // full.
    ASSERT_TRUE(Ok(host.Run({"volume", "create", "log", "--size", "1G"})));
    ASSERT_TRUE(Ok(host.Run({"plug", "web1", "ubdc=volume:log"})));
    EXPECT_EQ(host.RunInGuest("web1",
                              "(i=0; while dd if=/dev/zero of=/dev/ubdc bs=1M seek=$i count=4 conv=fsync; do "
                              "i=$((i+4)); sleep 0.05; done) >/dev/null 2>&1 & echo writing")
                  .out,
              "writing\n");
    ASSERT_TRUE(host.WaitForState("web1", "PAUSED"));
    EXPECT_THAT(host.Run({"describe", "web1"}).out, AllOf(HasSubstr("PAUSED"), HasSubstr("is full")));
    ASSERT_TRUE(Ok(host.Run({"kill", "web1"})));
    EXPECT_THAT(host.Run({"logs", "web1"}).out, Not(HasSubstr("I/O error")));
    EXPECT_TRUE(Ok(host.Run({"delete", "web1"})));
    EXPECT_TRUE(Ok(host.Run({"volume", "delete", "log", "data"})));
    EXPECT_EQ(files(), "");
  }
  host.Stop();
  EXPECT_EQ(umount(host.state_dir().c_str()), 0);
  host.Finish();
}

}  // namespace
}  // namespace umld::tests
