// Guests that go to another host: what was written inside is there, as it was; what is cut short, changed or unwanted
// leaves nothing. And COW files that are written into their backing files.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TransferTest : public SharedHost {
 protected:
  static void SetUpTestSuite() {
    SharedHost::SetUpTestSuite();
    there_ = new Host;
    ASSERT_TRUE(there_->Start());
  }
  static void TearDownTestSuite() {
    there_->Finish();
    delete there_;
    there_ = nullptr;
    SharedHost::TearDownTestSuite();
  }
  void TearDown() override {
    if (!there_->IsUp()) {
      ASSERT_TRUE(there_->Start());
    }
    EXPECT_TRUE(Ok(there_->Run({"delete", "--all", "--force"})));
    ExpectNothingLeft(*there_);
    ExpectNothingLeft(*host_);
    for (const std::string& image : Images(*there_)) EXPECT_TRUE(Ok(there_->Run({"image", "delete", image})));
    EXPECT_TRUE(Ok(host_->Shell("rm -f *.umld *.img *.cow *.moo")));
    if (HasFailure()) ADD_FAILURE() << "the other umld's log:\n" << there_->Log();
    SharedHost::TearDown();
  }

  static std::vector<std::string> Images(const Host& host) {
    std::vector<std::string> names;
    for (const Json& image : Json::parse(host.Run({"image", "list", "-o", "json"}).out)) {
      names.push_back(image["name"].get<std::string>().substr(7));
    }
    return names;
  }
  static void ExpectNothingLeft(const Host& host) {
    const CommandResult left =
        host.Shell(absl::StrCat("cd ", host.state_dir(), " && ls -A imports snapshots 2>/dev/null | ",
                                "grep -v :; ls guests/*/importing images/.new* 2>/dev/null"));
    EXPECT_THAT(absl::StrReplaceAll(left.out, {{"\n", ""}}), "") << "left in " << host.state_dir();
    EXPECT_EQ(host.Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
  }
  // Both hosts' umlctl is the same program; this one talks to the other host.
  static std::string There() {
    return absl::StrCat("UMLD_ADDRESS=unix:", there_->socket(), " ", host_->Program("umlctl"));
  }
  static std::string Here() { return host_->Program("umlctl"); }
  static CommandResult Import(const std::string& words) { return host_->Shell(There() + " import " + words); }
  static uint64_t SizeOf(const std::string& file) { return std::filesystem::file_size(host_->Work(file)); }

  inline static Host* there_ = nullptr;
};

TEST_F(TransferTest, ARunningGuestIsTheSameOnAnotherHost) {
  ASSERT_TRUE(
      Ok(host_->Shell("truncate -s 10G more.img && mke2fs -q -t ext4 -E lazy_itable_init=1 more.img && "
                      "truncate -s 1M seed.img && printf seed | dd of=seed.img conv=notrunc status=none")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more.img", "--disk", "ubdcr=seed.img", "--label",
                                             "lab=net1", "--description", "a text", "--con", "ssl1=pts"}));
  const GuestResult sums = host_->RunInGuest(
      "web1",
      "mount /dev/ubdb /mnt && head -c 3000000 /dev/urandom > /data; head -c 2000000 /dev/urandom >/mnt/data; "
      "md5sum /data /mnt/data; head -c 4 /dev/ubdc");
  ASSERT_THAT(sums.out, AllOf(HasSubstr("/mnt/data"), HasSubstr("seed")));
  host_->RunInGuest(
      "web1", "sh -c 'while true; do head -c 100000 /dev/urandom > /mnt/busy; sync; done' >/dev/null 2>&1 & true");
  const CommandResult exported = host_->Run({"export", "web1", "web1.umld"});
  ASSERT_TRUE(Ok(exported));
  EXPECT_THAT(exported.out, HasSubstr("web1: exported to "));
  EXPECT_EQ(exported.err, "") << "a note, where nothing is missing";
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_LT(SizeOf("web1.umld"), 200u << 20) << "the holes of a disk of 10G are in it";
  EXPECT_EQ(host_->Shell("tar -tf web1.umld").out,
            "guest.json\nimages/1\ndisks/ubda\ndisks/ubdb\ndisks/ubdc\nchecksums.json\n");
  const Json was = host_->Describe("web1");
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));

  const CommandResult imported = Import("web1.umld");
  ASSERT_TRUE(Ok(imported));
  EXPECT_EQ(imported.out, "web1: imported\n");
  const Json is = there_->Describe("web1");
  EXPECT_EQ(is["state"], "STOPPED");
  for (const char* field : {"description", "labels", "memory_bytes", "image", "image_digest", "trust", "confinement"}) {
    EXPECT_EQ(is[field], was[field]) << field;
  }
  EXPECT_EQ(Images(*there_), std::vector<std::string>{"tiny"});
  EXPECT_TRUE(DiskOf(is, "ubdb")["managed"]);
  EXPECT_THAT(DiskOf(is, "ubdb")["path"].get<std::string>(), HasSubstr(there_->state_dir()));
  ASSERT_TRUE(Ok(there_->Run({"start", "web1"})));
  EXPECT_EQ(there_->RunInGuest("web1", "mount /dev/ubdb /mnt && md5sum /data /mnt/data; head -c 4 /dev/ubdc").out,
            sums.out);
  EXPECT_THAT(there_->Run({"describe", "web1"}).out, HasSubstr("ssl1"));
  // What came with it belongs to it, and goes with it.
  EXPECT_TRUE(Refused(there_->Run({"unplug", "web1", "ubdb"}), kWrongState, {"web1", "ubdb", "own folder"}));
  ASSERT_TRUE(Ok(there_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(there_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_TRUE(Ok(there_->Run({"snapshot", "restore", "web1", "s"})));
  ASSERT_TRUE(Ok(there_->Run({"snapshot", "delete", "web1", "s"})));
  ASSERT_TRUE(Ok(there_->Run({"reset", "web1"})));
  EXPECT_TRUE(Refused(there_->Run({"image", "delete", "tiny"}), kWrongState, {"tiny", "web1"}));
}

// The admin of a host passes it on; that does not make it the admin's word.
TEST_F(TransferTest, AnArchiveGetsNothingOfTheHost) {
  const std::vector<std::string> wishes = {"initrd=/etc/shadow", "port:80", "192.0.2.1/24"};
  ASSERT_TRUE(host_->Create("web1", {"--arg", "quiet", "--arg", wishes[0], "--con", "con2=" + wishes[1], "--nic",
                                     "eth0=tuntap,,02:00:00:00:77:02," + wishes[2]}));
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  const CommandResult imported = Import("web1.umld");
  ASSERT_TRUE(Ok(imported));
  const std::string is = there_->Describe("web1").dump();
  for (const std::string& wish : wishes) {
    EXPECT_THAT(imported.err, HasSubstr(wish));
    EXPECT_THAT(is, Not(HasSubstr(wish)));
  }
  EXPECT_THAT(imported.err, HasSubstr("--trust trusted"));
  EXPECT_THAT(is, AllOf(HasSubstr("quiet"), HasSubstr("02:00:00:00:77:02")));
  ASSERT_TRUE(Ok(there_->Run({"delete", "web1"})));
  // One's own.
  const CommandResult trusted = Import("--trust trusted web1.umld");
  ASSERT_TRUE(Ok(trusted));
  EXPECT_EQ(trusted.err, "");
  const std::string then = there_->Describe("web1").dump();
  for (const std::string& wish : wishes) EXPECT_THAT(then, HasSubstr(wish));
}

TEST_F(TransferTest, ThroughAPipeAndBesideTheOldOne) {
  ASSERT_TRUE(host_->Create("web1", {"--nic", "eth0=tuntap,,02:00:00:00:77:01"}));
  ASSERT_TRUE(Ok(host_->Shell(Here() + " export web1 - | " + There() + " import -")));
  EXPECT_EQ(there_->Describe("web1")["nics"][0]["mac"], "02:00:00:00:77:01");
  // An ordinary user makes no taps.
  EXPECT_TRUE(getuid() != 0 || Ok(there_->Run({"start", "web1"}))) << "its disk, which it never had, is empty";
  // The name, and then the address, are taken where it comes from.
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  EXPECT_TRUE(Refused(host_->Run({"import", "web1.umld"}), kBusyOrExists, {"web1", "--name"}));
  EXPECT_TRUE(
      Refused(host_->Run({"import", "web1.umld", "--name", "web2"}), kWrongState, {"02:00:00:00:77:01", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"import", "web1.umld", "--name", "web2", "--new-macs"})));
  EXPECT_NE(host_->Describe("web2")["nics"][0]["mac"], "02:00:00:00:77:01");
  EXPECT_TRUE(Refused(host_->Run({"export", "web1", "web1.umld"}), kBusyOrExists, {"web1.umld"}));
  EXPECT_TRUE(Refused(host_->Run({"export", "nobody", "x.umld"}), kNotFound, {"nobody"}));
  EXPECT_TRUE(Refused(host_->Run({"import", "missing.umld"}), kNotFound, {"missing.umld"}));
  EXPECT_EQ(host_->Shell("ls x.umld 2>/dev/null").out, "");
}

TEST_F(TransferTest, WhatIsNotWholeLeavesNothing) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "head -c 300000 /dev/urandom > /data; sync; echo ok").out, "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  const uint64_t size = SizeOf("web1.umld");
  for (const uint64_t cut : {uint64_t{0}, uint64_t{1}, uint64_t{511}, uint64_t{512}, uint64_t{2000}, size / 3, size / 2,
                             size - 5000, size - 1025, size - 1}) {
    const CommandResult result = host_->Shell(absl::StrCat("head -c ", cut, " web1.umld | ", There(), " import -"));
    EXPECT_TRUE(Refused(result, kUsage, {"the archive"})) << "cut at " << cut;
    ExpectNothingLeft(*there_);
  }
  for (uint64_t i = 0; i < 12; ++i) {
    const uint64_t at = i < 4 ? 600 + i * 300 : size * i / 12;
    ASSERT_TRUE(Ok(
        host_->Shell(absl::StrCat("cp web1.umld bad.umld && b=$(dd if=bad.umld bs=1 skip=", at,
                                  " count=1 status=none | od -An -tu1) && printf \"\\\\$(printf %o $((b ^ 85)))\" | ",
                                  "dd of=bad.umld bs=1 seek=", at, " conv=notrunc status=none"))));
    EXPECT_FALSE(Ok(Import("bad.umld"))) << "changed at " << at;
  }
  ExpectNothingLeft(*there_);
  EXPECT_TRUE(there_->Names().empty());
  EXPECT_TRUE(Images(*there_).empty());
  EXPECT_TRUE(Refused(host_->Shell("gzip -c web1.umld | " + There() + " import -"), kUsage, {"packed", "gzip -dc"}));
  EXPECT_TRUE(Refused(Import("/dev/zero"), kUsage, {"guest.json"}));
  EXPECT_TRUE(Refused(Import("."), kUsage, {"folder"}));
  // Whoever reads it goes away: the guest goes on.
  host_->Shell(Here() + " export web1 - | head -c 100000 >/dev/null");
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_TRUE(WaitFor([&] { return host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out.empty(); }));
}

TEST_F(TransferTest, OfASnapshotAndWithoutTheImage) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_EQ(host_->RunInGuest("web1", "echo before > /state; sync; echo ok").out, "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  ASSERT_EQ(host_->RunInGuest("web1", "echo after > /state; sync; echo ok").out, "ok\n");
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld", "--snapshot", "s", "--without-images"})));
  EXPECT_TRUE(Refused(host_->Run({"export", "web1", "x.umld", "--snapshot", "t"}), kNotFound, {"web1", "\"t\""}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "s"})));
  EXPECT_EQ(host_->Shell("tar -tf web1.umld").out, "guest.json\ndisks/ubda\nchecksums.json\n");
  EXPECT_TRUE(Refused(Import("web1.umld"), kWrongState, {"tiny", "not here"}));
  EXPECT_TRUE(there_->Names().empty());
  ASSERT_TRUE(Ok(host_->Shell(Here() + " image export tiny - | " + There() + " image import other -")));
  ASSERT_TRUE(Ok(Import("web1.umld")));
  ASSERT_TRUE(Ok(there_->Run({"start", "web1"})));
  EXPECT_EQ(there_->RunInGuest("web1", "cat /state").out, "before\n");
}

TEST_F(TransferTest, AnArchiveMakesNoGuestTrusted) {
  ASSERT_TRUE(
      host_->Create("web1", {"--trust", "trusted", "--confinement", "relaxed", "--kernel", "/usr/bin/linux.uml"}));
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  const CommandResult imported = Import("web1.umld");
  ASSERT_TRUE(Ok(imported));
  EXPECT_THAT(imported.err, AllOf(HasSubstr("--trust trusted"), HasSubstr("--confinement relaxed")));
  EXPECT_EQ(there_->Describe("web1")["trust"], "UNTRUSTED");
  EXPECT_EQ(there_->Describe("web1")["confinement"], "STRICT");
  EXPECT_TRUE(Refused(Import("web1.umld --name web2 --confinement relaxed"), kWrongState, {"untrusted"}));
  ASSERT_TRUE(Ok(Import("web1.umld --name web2 --confinement relaxed --trust trusted")));
  EXPECT_EQ(there_->Describe("web2")["confinement"], "RELAXED");
}

TEST_F(TransferTest, OfTwoAtOnceOneIsTheGuest) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  const CommandResult both = host_->Shell(There() + " import web1.umld >a.moo 2>&1 & " + There() +
                                          " import web1.umld >b.moo 2>&1; wait; cat a.moo b.moo");
  EXPECT_THAT(both.out, HasSubstr("web1: imported\n"));
  EXPECT_EQ(there_->Names(), std::vector<std::string>{"web1"});
  EXPECT_TRUE(Ok(there_->Run({"start", "web1"})));
}

TEST_F(TransferTest, SurvivesKillsOfEitherUmld) {
  ASSERT_TRUE(Ok(host_->Shell("head -c 150000000 /dev/urandom > more.img")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=more.img"}));
  struct Step {
    std::string syscall;
    int nth;
    bool whole = false;
  };
  // It stands still and is copied; it goes on; the copies are sent.
  for (const Step& step : std::vector<Step>{{"copy_file_range", 1}, {"unlink", 1}, {"pread64", 20}}) {
    SCOPED_TRACE(absl::StrCat("export, ", step.syscall, " ", step.nth));
    ASSERT_TRUE(host_->KillAt(step.syscall, step.nth));
    std::unique_ptr<Running> exporting = host_->RunBeside({"export", "web1", "cut.umld"});
    ASSERT_TRUE(host_->WaitForKill());
    ASSERT_TRUE(host_->Start());
    const std::optional<int> exit_code = exporting->Wait();
    ASSERT_TRUE(exit_code.has_value());
    EXPECT_NE(*exit_code, 0);
    ASSERT_TRUE(host_->WaitForState("web1", "RUNNING"));
    EXPECT_EQ(host_->Shell("ls cut.umld 2>/dev/null").out, "");
    ExpectNothingLeft(*host_);
  }
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  // While it arrives; when all has arrived; the image and the two disks get their places; all have them, and the guest
  // is committed or not; it is.
  for (const Step& step : std::vector<Step>{{"pwrite64", 3},
                                            {"pwrite64", 40},
                                            {"fsync", 1},
                                            {"renameat2", 1},
                                            {"renameat2", 2},
                                            {"renameat2", 3},
                                            {"unlink", 1, true}}) {
    SCOPED_TRACE(absl::StrCat("import, ", step.syscall, " ", step.nth));
    ASSERT_TRUE(there_->KillAt(step.syscall, step.nth));
    std::unique_ptr<Running> importing = there_->RunBeside({"import", host_->Work("web1.umld")});
    ASSERT_TRUE(there_->WaitForKill());
    // Between the last steps there are disks in their places, marked as nobody's.
    const std::string marked = there_->Shell("cd " + there_->state_dir() + "/guests && ls */importing").out;
    if (step.whole || (step.syscall == "renameat2" && step.nth > 1)) {
      EXPECT_NE(marked, "");
    } else {
      EXPECT_EQ(marked, "");
    }
    ASSERT_TRUE(there_->Start());
    EXPECT_TRUE(importing->Wait().has_value());
    ExpectNothingLeft(*there_);
    // Whole or not at all; the image came with it.
    const std::vector<std::string> names = there_->Names();
    EXPECT_EQ(names.size(), step.whole ? 1u : 0u);
    EXPECT_EQ(Images(*there_).size(), names.size());
    EXPECT_EQ(there_->Shell("ls " + there_->state_dir() + "/guests 2>/dev/null | wc -l").out,
              absl::StrCat(names.size(), "\n"));
    if (names.empty()) continue;
    const Json disk = DiskOf(there_->Describe("web1"), "ubdb");
    EXPECT_TRUE(Ok(there_->Shell("cmp " + disk["path"].get<std::string>() + " " + host_->Work("more.img"))));
    EXPECT_TRUE(Ok(there_->Run({"start", "web1"})));
  }
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

TEST_F(TransferTest, AFullDiskLeavesNothingOnEitherSide) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a disk of its own";
  ASSERT_TRUE(Ok(host_->Shell("head -c 60000000 /dev/urandom > more.img")));
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdb=more.img"}));
  ASSERT_TRUE(Ok(host_->Run({"export", "web1", "web1.umld"})));
  const auto mount = [](const Host& host, const std::string& folder) {
    return host.Shell("mkdir -p " + folder +
                      " && truncate -s 30M small.disk && mke2fs -q -t ext4 small.disk && "
                      "mount -o loop small.disk " +
                      folder + " && rmdir " + folder + "/lost+found");
  };
  const std::string imports = there_->state_dir() + "/imports", target = host_->Work("target");
  ASSERT_TRUE(Ok(mount(*there_, imports)));
  const CommandResult full = Import("web1.umld");
  EXPECT_THAT(full.err, AllOf(HasSubstr("kept for guests"), HasSubstr("hint")));
  EXPECT_TRUE(there_->Names().empty());
  EXPECT_TRUE(Images(*there_).empty());
  ExpectNothingLeft(*there_);
  ASSERT_TRUE(Ok(there_->Shell("umount " + imports + " && rm small.disk")));
  ASSERT_TRUE(Ok(mount(*host_, target)));
  EXPECT_THAT(host_->Run({"export", "web1", "target/web1.umld"}).err,
              AllOf(HasSubstr("No space left"), HasSubstr("hint")));
  EXPECT_EQ(host_->Shell("ls -A target").out, "");
  EXPECT_TRUE(WaitFor([&] { return host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out.empty(); }));
  ASSERT_TRUE(Ok(host_->Shell("umount target && rm -r small.disk target")));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

TEST_F(TransferTest, VolumesGoToStdout) {
  ASSERT_TRUE(Ok(host_->Run({"volume", "create", "data", "--size", "300M", "--format", "ext4"})));
  ASSERT_TRUE(
      Ok(host_->Shell(Here() + " volume export data - > a.img && " + Here() + " volume export data - | cat > b.img")));
  const std::string path = host_->state_dir() + "/volumes/data.img";
  EXPECT_TRUE(Ok(host_->Shell("cmp a.img " + path + " && cmp b.img " + path)));
  EXPECT_LT(std::stoull(host_->Shell("stat -c %b a.img").out) * 512, 32u << 20) << "its holes are filled";
  ASSERT_TRUE(Ok(host_->Run({"volume", "delete", "data"})));
  EXPECT_TRUE(Refused(host_->Shell(Here() + " volume export data - | cat; exit 3"), kNotFound, {"data"}));
}

// ---------------------------------------------------------------- disk commit --into-backing

// A guest has written to cow, over base; `same` is what both are together, by the tool that everybody knows.
void MakeCow(Host* host) {
  ASSERT_TRUE(Ok(host->Shell("truncate -s 64M base.img && mke2fs -q -t ext4 -b 4096 base.img")));
  ASSERT_TRUE(host->CreateAndStart("web1", {"--disk", "ubdb=work.cow,base.img"}));
  ASSERT_EQ(
      host->RunInGuest("web1", "mount /dev/ubdb /mnt && head -c 30000000 /dev/urandom >/mnt/data; umount /mnt; echo ok")
          .out,
      "ok\n");
}

TEST_F(TransferTest, ACowFileGoesIntoItsBackingFile) {
  ASSERT_NO_FATAL_FAILURE(MakeCow(host_));
  const std::string sum = host_->RunInGuest("web1", "md5sum /dev/ubdb").out;
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", "work.cow", "--into-backing"}), kWrongState, {"work.cow", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  const std::string root = DiskOf(host_->Describe("web1"), "ubda")["path"];
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", root, "--into-backing"}), kWrongState, {"image", "never change"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", "work.cow"}), kUsage, {"--into-backing"}));
  ASSERT_TRUE(host_->Create("web2", {"--disk", "ubdb=other.cow,base.img"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", "work.cow", "--into-backing"}), kWrongState, {"base.img", "web2"}));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web2"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "s"})));
  EXPECT_TRUE(
      Refused(host_->Run({"disk", "commit", "work.cow", "--into-backing"}), kWrongState, {"base.img", "snapshot"}));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "s"})));

  ASSERT_TRUE(Ok(host_->Shell("uml_moo work.cow merged.moo")));
  ASSERT_TRUE(Ok(host_->Run({"disk", "commit", "work.cow", "--into-backing"})));
  EXPECT_TRUE(Ok(host_->Shell("cmp base.img merged.moo")));
  const Json cow = Json::parse(host_->Run({"disk", "info", "work.cow", "-o", "json"}).out);
  EXPECT_EQ(cow["cow"].value("problem", ""), "") << cow;
  EXPECT_EQ(cow["cow"]["written_bytes"], 0) << cow;
  EXPECT_LT(cow["allocated_bytes"].get<uint64_t>(), 1u << 20) << "its blocks are still there";
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "md5sum /dev/ubdb").out, sum);
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

TEST_F(TransferTest, TheNextUmldFinishesACommitThatThisOneBegan) {
  ASSERT_NO_FATAL_FAILURE(MakeCow(host_));
  const std::string sum = host_->RunInGuest("web1", "md5sum /dev/ubdb").out;
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(
      Ok(host_->Shell("uml_moo work.cow merged.moo && cp --sparse=always work.cow w.moo && "
                      "cp --sparse=always --preserve=timestamps base.img b.moo")));
  // Some data is in the backing file; all is, and not synced; the header has its time; the bitmap is empty; the data's
  // blocks go.
  for (const auto& [syscall, nth] : std::vector<std::pair<std::string, int>>{
           {"pwrite64", 15}, {"fsync", 1}, {"fsync", 2}, {"fallocate", 1}, {"fsync", 3}, {"fallocate", 2}}) {
    SCOPED_TRACE(absl::StrCat(syscall, " ", nth));
    // Anew, in the same files: the guest knows them.
    ASSERT_TRUE(Ok(
        host_->Shell("cp --sparse=always w.moo work.cow && cp --sparse=always --preserve=timestamps b.moo base.img")));
    ASSERT_TRUE(host_->KillAt(syscall, nth));
    std::unique_ptr<Running> committing = host_->RunBeside({"disk", "commit", "work.cow", "--into-backing"});
    ASSERT_TRUE(host_->WaitForKill());
    EXPECT_FALSE(Ok(host_->Shell("cmp -s base.img b.moo"))) << "it has begun";
    ASSERT_TRUE(host_->Start());
    EXPECT_EQ(committing->Wait(), 0) << committing->err();
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
    EXPECT_TRUE(Ok(host_->Shell("cmp base.img merged.moo")));
    const Json cow = Json::parse(host_->Run({"disk", "info", "work.cow", "-o", "json"}).out);
    EXPECT_EQ(cow["cow"].value("problem", ""), "") << cow;
    EXPECT_EQ(cow["cow"]["written_bytes"], 0) << cow;
  }
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "md5sum /dev/ubdb").out, sum);
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
}

}  // namespace
}  // namespace umld::tests
