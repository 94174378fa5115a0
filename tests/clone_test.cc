// Clones: new guests that have what another wrote, and are not taken for it.
#include <pwd.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Clones : public SharedHost {
 public:
  // A guest of umld's own is changing a clone's identity, and stands still there: umld waits for the supervisor, or
  // nothing at all is written any more.
  static pid_t HoldIdentity(const Host& host, bool kernel) {
    pid_t held = 0;
    const auto find = [&] {
      const std::vector<ProcessInfo> all = ProcessesOf(host.run_dir() + "/clones");
      const auto child_of = [&](pid_t parent) {
        const auto child =
            std::find_if(all.begin(), all.end(), [parent](const ProcessInfo& one) { return one.parent == parent; });
        return child == all.end() ? 0 : child->pid;
      };
      // Before it has said who it is, the next umld could only wait for it.
      const bool known = Ok(host.Shell("test -e " + host.run_dir() + "/clones/*/status"));
      held = known ? child_of(host.pid()) : 0;
      if (kernel && held != 0) {
        const pid_t init = child_of(held);
        held = init == 0 ? 0 : child_of(init);
      }
      return held != 0;
    };
    EXPECT_TRUE(WaitFor(find)) << host.Log();
    EXPECT_TRUE(held != 0 && kill(held, SIGSTOP) == 0);
    return held;
  }

 protected:
  void TearDown() override {
    SharedHost::TearDown();
    EXPECT_THAT(Leftovers(), IsEmpty());
  }
  // Of clones that are not there.
  static std::vector<std::string> Leftovers() {
    std::vector<std::string> left = FilesUnder(host_->run_dir() + "/clones");
    for (const std::string& file : FilesUnder(host_->state_dir() + "/clones")) left.push_back(file);
    for (const std::string& file : FilesUnder(host_->state_dir() + "/snapshots")) left.push_back(file);
    const size_t guests = host_->Names().size();
    const size_t folders = std::stoul(host_->Shell("ls " + host_->state_dir() + "/guests | wc -l").out);
    // Of a guest that has never been started there is none.
    if (folders > guests) left.push_back("a state folder too many");
    return left;
  }
  // umld has been killed. The clone is there, whole, when umlctl has said so, which asks the next umld when this one
  // has not answered yet.
  static void ExpectWholeOrNothing(Running* cloning, std::optional<bool> expected) {
    ASSERT_TRUE(host_->Start());
    const bool made = cloning->Wait() == 0;
    if (expected.has_value()) {
      EXPECT_EQ(made, *expected) << cloning->err();
    }
    EXPECT_TRUE(WaitFor([] { return host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out.empty(); }));
    EXPECT_EQ(host_->Names().size(), made ? 2u : 1u);
    EXPECT_THAT(Leftovers(), IsEmpty());
    EXPECT_EQ(Unfinished(), "");
    EXPECT_TRUE(host_->WaitForState("web1", "RUNNING"));
    if (!made) return;
    EXPECT_EQ(host_->Shell("cmp -n 4096 " + DiskPath("web1", "ubda") + " " + DiskPath("web2", "ubda")).out, "");
    EXPECT_TRUE(Ok(host_->Run({"delete", "web2"})));
  }
  // The state folders of guests that are not committed.
  static std::string Unfinished() {
    return host_->Shell("cd " + host_->state_dir() + "/guests && ls -d */unfinished-clone 2>/dev/null").out;
  }
  // As it is in a filesystem in this file; "" when it is not there.
  static std::string FileIn(const std::string& filesystem, const std::string& path) {
    return host_->Shell("debugfs -R 'cat " + path + "' " + filesystem + " 2>/dev/null").out;
  }
  static std::string DiskPath(const std::string& guest, const std::string& device) {
    return DiskOf(host_->Describe(guest), device)["path"];
  }
};

constexpr char kOldMachineId[] = "0123456789abcdef0123456789abcdef";
// Without a sync: the kernel is asked to write it out.
constexpr char kMakeIdentity[] =
    "mkdir -p /etc/ssh /var/lib/dbus /var/lib/systemd; "
    "echo 0123456789abcdef0123456789abcdef | tee /etc/machine-id > /var/lib/dbus/machine-id; "
    "echo web1 > /etc/hostname; echo 127.0.1.1 web1.lan web1 >> /etc/hosts; "
    "for k in rsa ed25519 dsa; do echo old > /etc/ssh/ssh_host_${k}_key; echo old > /etc/ssh/ssh_host_${k}_key.pub; "
    "done; echo seed > /var/lib/systemd/random-seed; head -c 3000000 /dev/urandom > /data; "
    "mount /dev/ubdb /mnt && cp /data /mnt/data; echo made";

TEST_F(Clones, OfARunningGuestHasItsDataAndAnIdentityOfItsOwn) {
  if (getpwuid(getuid()) == nullptr) GTEST_SKIP() << "ssh-keygen does nothing for a user whom the host does not know";
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 32M more && mke2fs -q -t ext4 more")));
  ASSERT_TRUE(host_->CreateAndStart(
      "web1", {"--disk", "ubdb=more", "--nic", "eth0=tuntap,umldct0,,192.168.77.254", "--con",
               "ssl0=port:0.0.0.0:23917", "--label", "lab=net1", "--description", "a text", "--pids", "500"}));
  ASSERT_EQ(host_->RunInGuest("web1", kMakeIdentity).out, "made\n");
  const std::string sum = host_->RunInGuest("web1", "md5sum /data").out;
  ASSERT_THAT(sum, HasSubstr("/data"));
  const Json before = host_->Describe("web1");

  const CommandResult cloned = host_->Run({"clone", "web1", "web2"});
  ASSERT_TRUE(Ok(cloned));
  EXPECT_EQ(cloned.out, "web2: a clone of web1\n");
  EXPECT_THAT(cloned.err, AllOf(HasSubstr("machine-id"), HasSubstr("ssh host keys: ed25519, rsa"), HasSubstr("dsa"),
                                HasSubstr("host name is web2"), HasSubstr("192.168.77.254"), HasSubstr("port:0.0.0.0"),
                                HasSubstr(host_->Work("more")), HasSubstr("umldct0")));
  EXPECT_THAT(Leftovers(), IsEmpty());
  const Json web2 = host_->Describe("web2");
  EXPECT_EQ(web2["state"], "STOPPED");
  for (const char* same : {"memory_bytes", "description", "labels", "limits", "trust", "confinement", "kernel_args",
                           "image", "image_digest"}) {
    EXPECT_EQ(before.value(same, Json()), web2.value(same, Json())) << same;
  }
  ASSERT_EQ(web2["nics"].size(), 1u);
  EXPECT_NE(web2["nics"][0]["mac"], before["nics"][0]["mac"]);
  EXPECT_NE(web2["nics"][0]["interface"], before["nics"][0]["interface"]);
  EXPECT_THAT(DiskPath("web2", "ubdb"), HasSubstr(host_->state_dir()));
  EXPECT_EQ(DiskOf(web2, "ubda")["backing"], DiskOf(before, "ubda")["backing"]);

  // Both at the same time.
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  ASSERT_TRUE(Ok(host_->Run({"start", "web2"})));
  EXPECT_EQ(host_->RunInGuest("web2", "md5sum /data").out, sum);
  EXPECT_EQ(host_->RunInGuest("web2", "mount /dev/ubdb /mnt && cmp /data /mnt/data && echo same").out, "same\n");
  EXPECT_EQ(host_
                ->RunInGuest("web2",
                             "cat /etc/machine-id; wc -c < /etc/machine-id; cat /etc/hostname; "
                             "grep -c 'web2.lan\\|web1' /etc/hosts; tail -n 1 /etc/hosts; "
                             "ls /var/lib/dbus /var/lib/systemd; ls -1 /etc/ssh; stat -c %a /etc/ssh/*")
                .out,
            "0\nweb2\n1\n127.0.1.1 web1.lan web2\n/var/lib/dbus:\n\n/var/lib/systemd:\n"
            "ssh_host_ed25519_key\nssh_host_ed25519_key.pub\nssh_host_rsa_key\nssh_host_rsa_key.pub\n"
            "600\n644\n600\n644\n");
  for (const std::string kind : {"rsa", "ed25519"}) {
    const std::string file = "/etc/ssh/ssh_host_" + kind + "_key";
    ASSERT_TRUE(Ok(
        host_->Shell("cat >key <<'END'\n" + host_->RunInGuest("web2", "cat " + file).out + "END\n" + "chmod 600 key")));
    const std::string in_guest = host_->RunInGuest("web2", "cut -d ' ' -f 1,2 " + file + ".pub").out;
    EXPECT_EQ(host_->Shell("ssh-keygen -y -f key | cut -d ' ' -f 1,2; rm -f key").out, in_guest);
    EXPECT_THAT(in_guest, HasSubstr(kind == "rsa" ? "ssh-rsa " : "ssh-ed25519 "));
  }
  // The source is as it was, and its data its own.
  EXPECT_EQ(host_->RunInGuest("web1", "cat /etc/machine-id /etc/hostname /etc/ssh/ssh_host_rsa_key").out,
            absl::StrCat(kOldMachineId, "\nweb1\nold\n"));
  EXPECT_EQ(host_->RunInGuest("web2", "echo mine > /data; echo mine > /mnt/data; sync; echo ok").out, "ok\n");
  EXPECT_EQ(host_->RunInGuest("web1", "md5sum /data; cmp /data /mnt/data && echo same").out, sum + "same\n");
  EXPECT_EQ(host_->Describe("web1")["disks"], before["disks"]);
  EXPECT_EQ(host_->Describe("web1")["nics"][0]["mac"], before["nics"][0]["mac"]);

  // What it has goes with it, and nothing else does.
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web2", "ubdb"}), kWrongState, {"web2", "ubdb"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", "tiny"}), kWrongState, {"web1, web2"}));
  ASSERT_TRUE(Ok(host_->Run({"reset", "web2", "--force"})));
  EXPECT_EQ(host_->RunInGuest("web2", "test -e /data || echo new; mount /dev/ubdb /mnt && cat /mnt/data").out,
            "new\nmine\n");
  ASSERT_TRUE(Ok(host_->Run({"delete", "web2", "--force"})));
  EXPECT_TRUE(Ok(host_->Shell("test -e more")));
}

TEST_F(Clones, OfASnapshotIsANewGuest) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "echo before > /state; echo x > /etc/machine-id; sync; echo ok").out, "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_EQ(host_->RunInGuest("web1", "echo after > /state; sync; echo ok").out, "ok\n");
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "restore", "web1", "none", "--to", "web2"}), kNotFound, {"none"}));
  EXPECT_NE(host_->Run({"snapshot", "restore", "web1", "s", "--start"}).exit_code, 0);
  const CommandResult cloned =
      host_->Run({"snapshot", "restore", "web1", "s", "--to", "web2", "--start", "-o", "json"});
  ASSERT_TRUE(Ok(cloned));
  const Json report = Json::parse(cloned.out);
  EXPECT_EQ(report["source"], "guests/web1/snapshots/s");
  EXPECT_EQ(report["guest"]["name"], "guests/web2");
  EXPECT_EQ(report["guest"]["state"], "RUNNING");
  EXPECT_THAT(report["notes"].dump(), HasSubstr("machine-id"));
  EXPECT_EQ(host_->RunInGuest("web2", "cat /state /etc/machine-id").out, "before\n");
  EXPECT_EQ(host_->RunInGuest("web1", "cat /state /etc/machine-id").out, "after\nx\n");
  // The snapshot is still web1's; the clone needs neither.
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "s"})));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web1", "--force"})));
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", "tiny"}), kWrongState, {"web2"}));
  EXPECT_EQ(host_->RunInGuest("web2", "cat /state").out, "before\n");
}

// On a partition, and made by somebody who wants other files to be written to.
TEST_F(Clones, OfAHostileDiskChangesOnlyWhatIsMeant) {
  ASSERT_TRUE(Ok(host_->Shell(
      "mkdir -p t/etc t/var/lib/systemd t/var/lib/dbus t/away && echo precious >t/away/ssh_host_rsa_key && "
      "echo web1 >t/victim && ln -s ../victim t/etc/hostname && ln -s ../victim t/etc/machine-id && "
      "ln -s ../away t/etc/ssh && echo seed >t/var/lib/systemd/random-seed && "
      "ln -s ../../../victim t/var/lib/dbus/machine-id && truncate -s 16M disk && "
      "echo '2048,,L' | sfdisk -q disk && mke2fs -q -F -t ext4 -E offset=1048576 -d t disk 14M && rm -r t")));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--mem", "64M", "--disk", "ubda=disk", "--arg", "root=/dev/ubda1"})));
  const CommandResult cloned = host_->Run({"clone", "web1", "web2"});
  ASSERT_TRUE(Ok(cloned));
  EXPECT_THAT(cloned.err, AllOf(HasSubstr("no plain file: host name, machine-id"), Not(HasSubstr("ssh"))));
  ASSERT_TRUE(Ok(host_->Shell("dd if=" + DiskPath("web2", "ubda") + " of=part bs=1M skip=1 2>/dev/null")));
  EXPECT_TRUE(Ok(host_->Shell("e2fsck -fn part")));
  EXPECT_EQ(FileIn("part", "/victim"), "web1\n");
  EXPECT_EQ(FileIn("part", "/away/ssh_host_rsa_key"), "precious\n");
  EXPECT_EQ(FileIn("part", "/var/lib/systemd/random-seed"), "");
  ASSERT_TRUE(Ok(host_->Shell("dd if=disk of=part bs=1M skip=1 2>/dev/null")));
  EXPECT_EQ(FileIn("part", "/var/lib/systemd/random-seed"), "seed\n") << "the source's";
}

TEST_F(Clones, WithADiskThatCannotBeReadNeedsAWord) {
  ASSERT_TRUE(Ok(host_->Shell("head -c 2000000 /dev/urandom >disk")));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--mem", "64M", "--disk", "ubda=disk"})));
  const CommandResult refused = host_->Run({"clone", "web1", "web2"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("web2"), HasSubstr("machine-id"), HasSubstr("--same-identity")));
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
  EXPECT_THAT(Leftovers(), IsEmpty());
  ASSERT_TRUE(Ok(host_->Run({"clone", "web1", "web2", "--same-identity"})));
  EXPECT_TRUE(Ok(host_->Shell("cmp disk " + DiskPath("web2", "ubda"))));
  // Read-only disks and volumes.
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "data", "--size", "4M", "--format", "ext4"})));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web2", "ubdb=volume:data"})));
  ASSERT_TRUE(Ok(host_->Shell("echo text >ro && truncate -s 4096 ro")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web2", "ubdcr=ro"})));
  const CommandResult cloned = host_->Run({"clone", "web2", "web3", "--same-identity"});
  ASSERT_TRUE(Ok(cloned));
  EXPECT_THAT(cloned.err, AllOf(HasSubstr("volume:data"), HasSubstr("those of web2")));
  EXPECT_THAT(DiskPath("web3", "ubdb"), HasSubstr("/guests/"));
  EXPECT_EQ(DiskPath("web3", "ubdc"), host_->Work("ro"));
  EXPECT_TRUE(Ok(host_->Run({"delete", "web3", "web2"})));
  EXPECT_TRUE(Ok(host_->Run({"volume", "delete", "data"})));
}

TEST_F(Clones, RefusesWhatCannotBe) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"clone", "nobody", "web2"}), kNotFound, {"nobody"}));
  EXPECT_TRUE(Refused(host_->Run({"clone", "web1", "web1"}), kBusyOrExists, {"web1"}));
  EXPECT_TRUE(Refused(host_->Run({"clone", "web1", "a b"}), kUsage, {"a b"}));
  EXPECT_TRUE(Refused(host_->Run({"clone", "web1", "../x"}), kUsage, {"../x"}));
  EXPECT_TRUE(Refused(host_->Run({"clone", "web1", std::string(65, 'x')}), kUsage, {"xxx"}));
  EXPECT_NE(host_->Run({"clone", "web1"}).exit_code, 0);
  // Twice at once: one of them.
  const auto one = host_->RunBeside({"clone", "web1", "web2"}), two = host_->RunBeside({"clone", "web1", "web2"});
  std::vector<int> codes = {one->Wait().value_or(-1), two->Wait().value_or(-1)};
  std::sort(codes.begin(), codes.end());
  EXPECT_THAT(codes, ElementsAre(0, kBusyOrExists)) << one->err() << two->err();
  EXPECT_THAT(host_->Names(), ElementsAre("web1", "web2"));
  // A clone of one that has never been started starts.
  ASSERT_TRUE(Ok(host_->Run({"start", "web2"})));
}

// Whenever umld is killed: the whole guest is there or nothing, and the source goes on.
TEST_F(Clones, SurviveAKillOfUmld) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "head -c 20000000 /dev/urandom > /data; sync; echo ok").out, "ok\n");
  struct Step {
    std::string syscall;
    int nth;
    std::optional<bool> made;  // nullopt: as may be
    bool between = false;      // its state folder is there then, and nobody's
  };
  // The guest stands still; its disks are copied; they become the clone's, and then a disk of its own name; the guest
  // goes on.
  for (const Step& step : std::vector<Step>{
           {"copy_file_range", 1, false}, {"unlink", 1, false}, {"rename", 2, false}, {"rename", 3, false}}) {
    SCOPED_TRACE(absl::StrCat(step.syscall, " ", step.nth));
    ASSERT_TRUE(host_->KillAt(step.syscall, step.nth));
    const auto cloning = host_->RunBeside({"clone", "web1", "web2"});
    ASSERT_TRUE(host_->WaitForKill());
    ExpectWholeOrNothing(cloning.get(), step.made);
  }
  // Its identity is new, and synced; the folder is marked, becomes a guest's, is synced; the guest is committed; the
  // mark is taken away.
  for (const Step& step : std::vector<Step>{{"fsync", 1, false},
                                            {"rename", 1, false},
                                            {"rename", 2, false},
                                            {"fsync", 4, false, true},
                                            {"fdatasync", 1, std::nullopt, true},
                                            {"unlink", 2, true, true}}) {
    SCOPED_TRACE(absl::StrCat("identity, ", step.syscall, " ", step.nth));
    const auto cloning = host_->RunBeside({"clone", "web1", "web2"});
    const pid_t held = HoldIdentity(*host_, /*kernel=*/false);
    const bool traced = host_->KillAt(step.syscall, step.nth);
    kill(held, SIGCONT);
    ASSERT_TRUE(traced && host_->WaitForKill());
    EXPECT_EQ(!Unfinished().empty(), step.between);
    ExpectWholeOrNothing(cloning.get(), step.made);
  }
  // While its identity is changed: that guest of umld's own ends too.
  const auto cloning = host_->RunBeside({"clone", "web1", "web2"});
  HoldIdentity(*host_, /*kernel=*/false);
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
  host_->Kill9();
  ExpectWholeOrNothing(cloning.get(), false);
  EXPECT_THAT(ProcessesOf(host_->run_dir() + "/clones"), IsEmpty());
  EXPECT_EQ(host_->RunInGuest("web1", "echo here").out, "here\n");
  ASSERT_TRUE(Ok(host_->Run({"clone", "web1", "web2"})));
}

// Debian's kernel has btrfs built in; its root may be below a subvolume's name.
TEST_F(Clones, OfABtrfsRoot) {
  ASSERT_TRUE(Ok(
      host_->Shell("mkdir -p t/@/etc && echo 0123456789abcdef0123456789abcdef >t/@/etc/machine-id && "
                   "echo web1 >t/@/etc/hostname && head -c 3000000 /dev/urandom >t/@/data && md5sum <t/@/data >sum && "
                   "truncate -s 128M disk && mkfs.btrfs -q --rootdir t disk && rm -r t && cp disk before")));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--mem", "64M", "--disk", "ubda=disk"})));
  const CommandResult cloned = host_->Run({"clone", "web1", "web2"});
  ASSERT_TRUE(Ok(cloned));
  EXPECT_THAT(cloned.err, AllOf(HasSubstr("machine-id"), HasSubstr("host name is web2")));
  EXPECT_TRUE(Ok(host_->Shell("cmp disk before"))) << "the source's";
  ASSERT_TRUE(Ok(host_->Shell("cp " + DiskPath("web2", "ubda") + " after && btrfs check after")));
  ASSERT_TRUE(host_->CreateAndStart("web3", {"--disk", "ubdb=after"}));
  EXPECT_EQ(
      host_
          ->RunInGuest("web3",
                       "mount -t btrfs /dev/ubdb /mnt && cd /mnt/@ && wc -c <etc/machine-id && cat etc/hostname && "
                       "md5sum <data")
          .out,
      "0\nweb2\n" + host_->Shell("cat sum").out);
}

TEST_F(Clones, AFullDiskLeavesNothingAndTheGuestGoesOn) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
  ASSERT_TRUE(Ok(host_->Shell("head -c 50000000 /dev/urandom > more")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more"}));
  // Full in the middle of it: what is looked at before is another filesystem.
  const std::string folder = host_->state_dir() + "/snapshots";
  ASSERT_TRUE(Ok(host_->Shell("mkdir -p " + folder + " && mount -t tmpfs -o size=20m none " + folder)));
  EXPECT_TRUE(Refused(host_->Run({"clone", "web1", "web2"}), kBusyOrExists, {"web2", "No space left"}));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
  EXPECT_THAT(Leftovers(), IsEmpty());
  ASSERT_TRUE(Ok(host_->Shell("umount " + folder)));
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web1"})));
  ASSERT_TRUE(Ok(host_->Shell("rm more")));
}

// All that umld has is on a disk that is nearly full.
TEST(ClonesOnAFullDisk, AreNotBegun) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a small filesystem, which only root can mount";
  Host host;
  std::filesystem::create_directories(host.state_dir());
  ASSERT_EQ(mount("none", host.state_dir().c_str(), "tmpfs", 0, "size=100m,mode=0700"), 0);
  if (host.Start()) {
    EXPECT_TRUE(Ok(host.Shell("head -c 20M /dev/urandom >more")));
    EXPECT_TRUE(host.Create("web1", {"--disk", "ubdb=more"}));
    EXPECT_TRUE(Ok(host.Shell("head -c 65M /dev/zero >" + host.state_dir() + "/filler")));
    EXPECT_TRUE(Refused(host.Run({"clone", "web1", "web2"}), kBusyOrExists, {"web2", "need", "left"}));
    EXPECT_EQ(host.Run({"operations", "list", "--no-headers"}).out.find("clone"), std::string::npos);
    EXPECT_TRUE(Ok(host.Shell("rm " + host.state_dir() + "/filler")));
    EXPECT_TRUE(Ok(host.Run({"clone", "web1", "web2"})));
    EXPECT_TRUE(Ok(host.Run({"delete", "web1", "web2"})));
  }
  host.Stop();
  EXPECT_EQ(umount(host.state_dir().c_str()), 0);
  host.Finish();
}

// Somebody else fills the host's disk when the copies are made and their identity is being changed.
TEST(ClonesOnAFullDisk, EndWhenItFillsUpInTheMiddle) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a small filesystem, which only root can mount";
  Host host;
  const std::string state = host.state_dir();
  std::filesystem::create_directories(state);
  ASSERT_EQ(mount("none", state.c_str(), "tmpfs", 0, "size=150m,mode=0700"), 0);
  if (host.Start() && host.CreateAndStart("web1")) {
    EXPECT_EQ(host.RunInGuest("web1", "echo web1 >/etc/hostname; echo x >/etc/machine-id; sync; echo ok").out, "ok\n");
    const auto cloning = host.RunBeside({"clone", "web1", "web2"});
    const pid_t held = Clones::HoldIdentity(host, /*kernel=*/true);
    host.Shell("dd if=/dev/zero of=" + state + "/filler bs=4k");
    EXPECT_EQ(host.Shell("df --output=avail " + state + " | tail -n 1 | tr -d ' '").out, "0\n");
    kill(held, SIGCONT);
    const int code = cloning->Wait().value_or(-1);
    EXPECT_TRUE(Refused({code, cloning->out(), cloning->err()}, kBusyOrExists, {"web2", "No space left", state}));
    EXPECT_THAT(host.Names(), ElementsAre("web1"));
    EXPECT_THAT(ProcessesOf(host.run_dir() + "/clones"), IsEmpty());
    EXPECT_THAT(FilesUnder(host.run_dir() + "/clones"), IsEmpty());
    EXPECT_THAT(FilesUnder(state + "/clones"), IsEmpty());
    EXPECT_THAT(FilesUnder(state + "/snapshots"), IsEmpty());
    EXPECT_EQ(host.Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    // It stood still as long as there was no room for what it writes.
    EXPECT_TRUE(Ok(host.Shell("rm " + state + "/filler")));
    EXPECT_TRUE(host.WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host.RunInGuest("web1", "cat /etc/hostname /etc/machine-id").out, "web1\nx\n");
    EXPECT_TRUE(Ok(host.Run({"clone", "web1", "web2"})));
    EXPECT_TRUE(Ok(host.Run({"delete", "--all", "--force"})));
  }
  host.Stop();
  EXPECT_EQ(umount(state.c_str()), 0);
  host.Finish();
}

}  // namespace
}  // namespace umld::tests
