// Images: made of an archive and booted, named and renamed, checked and written out again; and what is left of an
// import that somebody kills or that finds the disk full: nothing.
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class ImagesTest : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    for (const Json& image : List()) {
      EXPECT_TRUE(Ok(host_->Run({"image", "delete", Short(image["name"])})));
    }
    EXPECT_THAT(Files(), IsEmpty()) << "files that no image needs";
  }

  static Json List() { return Json::parse(host_->Run({"image", "list", "-o", "json"}).out); }
  static std::string Short(const std::string& name) { return name.substr(name.find('/') + 1); }
  static Json Image(const std::string& name) {
    return Json::parse(host_->Run({"image", "describe", name, "-o", "json"}).out);
  }
  static std::vector<std::string> Files() {
    std::vector<std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(host_->state_dir() + "/images", error)) {
      files.push_back(entry.path().filename());
    }
    return files;
  }
  // A small filesystem, which nothing boots; each number another one.
  static std::string SmallTar(int number) {
    const std::string tar = host_->Work(absl::StrCat("small", number, ".tar"));
    EXPECT_TRUE(
        Ok(host_->Shell(absl::StrCat("mkdir -p small; echo ", number, " >small/number; tar --mtime=@1000000 -cf ", tar,
                                     " -C small .; rm -r small"))));
    return tar;
  }
};

TEST_F(ImagesTest, AnArchiveBecomesAGuest) {
  // The tree of the tiny image, with something in it that is ours.
  ASSERT_TRUE(Ok(host_->Run({"image", "build", "tiny"})));
  ASSERT_TRUE(Ok(host_->Run({"image", "export", "tiny", "tiny.raw"})));
  ASSERT_TRUE(Ok(host_->Shell(
      "mkdir tree && debugfs -R 'rdump / tree' tiny.raw && rm -rf tree/dev tree/lost+found && mkdir tree/dev tree/srv\n"
      "head -c 3000000 /dev/urandom >tree/srv/payload && sha256sum <tree/srv/payload >sum\n"
      "ln tree/srv/payload tree/srv/other && truncate -s 40M tree/srv/sparse\n"
      "tar --owner=0 --group=0 -C tree --exclude=./srv -cf mine.tar . && tar --owner=1234:1234 --group=77:77 -C tree "
      "-rf "
      "mine.tar ./srv && gzip mine.tar && chmod -R u+w tree && rm -rf tree")));
  const CommandResult imported = host_->Run({"image", "import", "mine:1", "mine.tar.gz", "--size", "64M"});
  ASSERT_TRUE(Ok(imported)) << host_->Log();
  EXPECT_EQ(imported.out, "mine:1: imported\n");
  const Json image = Image("mine:1");
  EXPECT_EQ(image["size_bytes"], 64 << 20);
  EXPECT_LT(image["allocated_bytes"].get<uint64_t>(), uint64_t{12} << 20);
  EXPECT_THAT(image["description"].get<std::string>(), HasSubstr("mine.tar.gz"));
  EXPECT_TRUE(Ok(host_->Shell("e2fsck -fn " + image["path"].get<std::string>())));
  struct stat info = {};
  ASSERT_EQ(stat(image["path"].get<std::string>().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0400u);

  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--image", "mine:1", "--mem", "64M"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  std::string sum;
  std::getline(std::ifstream(host_->Work("sum")), sum);
  EXPECT_EQ(host_->RunInGuest("web1", "sha256sum </srv/payload").out, sum + "\n");
  EXPECT_EQ(host_->RunInGuest("web1", "stat -c '%u %g %h' /srv/other").out, "1234 77 2\n");
  EXPECT_EQ(host_->RunInGuest("web1", "stat -c '%s %b' /srv/sparse").out, "41943040 0\n");
  EXPECT_EQ(host_->RunInGuest("web1", "echo new >/srv/new && sync && echo written").out, "written\n");
  EXPECT_EQ(host_->Describe("web1")["image_digest"], image["digest"]);
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "mine:1"}))) << "the guest writes beside it";
}

TEST_F(ImagesTest, NamesLeadToContents) {
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "a", SmallTar(1), "--size", "4M"})));
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "b:old", SmallTar(1), "--size", "4M"})));
  const std::string digest = Image("a")["digest"];
  EXPECT_EQ(Image("b:old")["digest"], digest) << "the same content twice is one file";
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(Image("a:latest")["name"], "images/a");
  EXPECT_EQ(Image(digest.substr(0, 19))["digest"], digest);

  EXPECT_TRUE(
      Refused(host_->Run({"image", "import", "a", SmallTar(2), "--size", "4M"}), kBusyOrExists, {"a", "--replace"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "tag", "a", "b:old:er"}), kUsage, {"b:old:er"}));
  EXPECT_TRUE(Ok(host_->Run({"image", "tag", "a", "c"})));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--image", "c", "--mem", "64M"})));
  EXPECT_EQ(host_->Describe("web1")["image"], "images/c");
  // The names move away from under the guest; what it needs stays.
  for (const char* name : {"a", "b:old", "c"}) {
    ASSERT_TRUE(Ok(host_->Run({"image", "import", name, SmallTar(2), "--size", "4M", "--replace"})));
  }
  EXPECT_EQ(Image("sha256:" + digest.substr(7, 12))["guests"], 1);
  EXPECT_EQ(host_->Describe("web1")["image_digest"], digest);
  EXPECT_TRUE(Ok(host_->Run({"image", "prune"})));
  EXPECT_EQ(Files().size(), 2u);
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", digest}), kWrongState, {"web1"}));
  EXPECT_TRUE(Ok(host_->Run({"delete", "web1"})));
  const CommandResult pruned = host_->Run({"image", "prune"});
  EXPECT_THAT(pruned.out, HasSubstr(digest.substr(0, 19) + ": deleted"));
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_TRUE(Ok(host_->Run({"image", "delete", "a", "c"})));
  EXPECT_EQ(Files().size(), 1u) << "b:old is a name of it";
}

TEST_F(ImagesTest, OutAndInAgainIsTheSame) {
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "a", SmallTar(1), "--size", "4M"})));
  const std::string digest = Image("a")["digest"];
  ASSERT_TRUE(Ok(host_->Run({"image", "export", "a", "a.raw"})));
  ASSERT_TRUE(Ok(host_->Run({"image", "export", "a", "a.qcow2", "--format", "qcow2"})));
  ASSERT_TRUE(Ok(host_->Shell(host_->Program("umlctl") + " image export a - >a.stdout && " + host_->Program("umlctl") +
                              " image export a - | cat >a.pipe")));
  EXPECT_EQ(host_->Shell("sha256sum a.raw a.stdout a.pipe | cut -d' ' -f1 | sort -u").out, digest.substr(7) + "\n");
  EXPECT_TRUE(Refused(host_->Run({"image", "export", "a", "a.raw"}), kBusyOrExists, {"a.raw"}));
  for (const char* file : {"a.raw", "a.qcow2"}) {
    ASSERT_TRUE(Ok(host_->Run({"image", "import", "again", file, "--replace"}))) << file;
    EXPECT_EQ(Image("again")["digest"], digest) << file;
  }
  // From stdin, and as a folder.
  ASSERT_TRUE(Ok(host_->Shell("cat a.qcow2 | " + host_->Program("umlctl") + " image import stdin -")));
  EXPECT_EQ(Image("stdin")["digest"], digest);
  ASSERT_TRUE(Ok(host_->Shell("mkdir -p root/etc; echo 1 >root/etc/x")));
  EXPECT_TRUE(Ok(host_->Run({"image", "import", "folder", "root", "--size", "4M"})));
}

TEST_F(ImagesTest, AFileThatSomebodyTouched) {
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "a", SmallTar(1), "--size", "4M"})));
  const std::string path = Image("a")["path"];
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "a"})));
  ASSERT_TRUE(Ok(host_->Shell("touch -d @5 " + path)));
  EXPECT_TRUE(Refused(host_->Run({"image", "verify", "a"}), kWrongState, {"time", "--repair"}));
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "a", "--repair"})));
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "a"})));
  ASSERT_TRUE(Ok(host_->Shell("chmod u+w " + path + "; printf x | dd of=" + path + " bs=1 seek=2000 conv=notrunc")));
  EXPECT_NE(host_->Run({"image", "verify", "a", "--repair"}).exit_code, 0);
  EXPECT_THAT(host_->Run({"image", "verify", "a"}).err, HasSubstr("has been changed"));
  // Whoever has the same once more mends it, for those who have it by another name and for the COW files over it.
  EXPECT_TRUE(Ok(host_->Run({"image", "import", "b", SmallTar(1), "--size", "4M"})));
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "a"})));
  ASSERT_TRUE(Ok(host_->Shell("rm -f " + path)));
  EXPECT_TRUE(Ok(host_->Run({"image", "import", "b", "--replace", SmallTar(1), "--size", "4M"})));
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "a"})));
}

TEST_F(ImagesTest, BadSources) {
  const auto import = [](const std::string& source, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"image", "import", "bad", source};
    words.insert(words.end(), more.begin(), more.end());
    return host_->Run(words);
  };
  EXPECT_TRUE(Refused(import("nothing"), kNotFound, {"nothing"}));
  ASSERT_TRUE(
      Ok(host_->Shell("mkfifo fifo; echo text >text; mkdir -p bad; echo x >bad/x; tar -cf bad.tar --transform "
                      "'s,bad/x,../../x,' -P bad/x; head -c 9000 /dev/urandom >bad/y; tar -cf whole.tar bad; head -c "
                      "5000 whole.tar >cut.tar")));
  EXPECT_TRUE(Refused(import("fifo"), kUsage, {"fifo"}));
  EXPECT_TRUE(Refused(import("text"), kUsage, {"text"}));
  EXPECT_TRUE(Refused(import("bad.tar"), kUsage, {"climbs"}));
  EXPECT_TRUE(Refused(import("cut.tar"), kUsage, {"cut short"}));
  EXPECT_TRUE(Refused(import("bad", {"--size", "1G", "--format", "raw"}), kUsage, {"folder"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "import", "sha256:abcdef", "bad"}), kUsage, {"sha256:abcdef"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "import", "bad"}), kUsage, {"--from-host"}));
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(ImagesTest, KilledInTheMiddleAndCancelled) {
  // Noise, so that it takes a while.
  ASSERT_TRUE(Ok(host_->Shell("mkdir big; head -c 300M /dev/urandom >big/noise; tar -cf big.tar big; rm -r big")));
  // Its content is written; it is sealed; it gets its place.
  for (const auto& [syscall, nth] :
       std::vector<std::pair<std::string, int>>{{"pwrite64", 30}, {"fchmod", 1}, {"renameat2", 1}}) {
    SCOPED_TRACE(absl::StrCat(syscall, " ", nth));
    ASSERT_TRUE(host_->KillAt(syscall, nth));
    const auto import = host_->RunBeside({"image", "import", "big", "big.tar"});
    ASSERT_TRUE(host_->WaitForKill());
    EXPECT_FALSE(Files().empty());
    ASSERT_TRUE(host_->Start());
    EXPECT_NE(import->Wait(), 0);
    EXPECT_THAT(Files(), IsEmpty());
    EXPECT_THAT(List(), IsEmpty());
    EXPECT_THAT(import->err(), HasSubstr("restarted in the middle"));
  }
  ASSERT_TRUE(host_->HoldAt("pwrite64", 30));
  const auto import = host_->RunBeside({"image", "import", "big", "big.tar"});
  ASSERT_TRUE(WaitFor([] { return !Files().empty(); }));
  const Json under_way = Json::parse(host_->Run({"operations", "list", "--unfinished", "-o", "json"}).out);
  ASSERT_EQ(under_way.size(), 1u);
  EXPECT_TRUE(Ok(host_->Run({"operations", "cancel", Short(under_way[0]["name"])})));
  host_->LetGo();
  EXPECT_NE(import->Wait(), 0);
  EXPECT_THAT(import->err(), HasSubstr("cancelled"));
  EXPECT_THAT(List(), IsEmpty());
  std::filesystem::remove(host_->Work("big.tar"));
}

// What an umld of before images had digests has left: STATE/images/NAME.img, and rows without a digest.
TEST_F(ImagesTest, ImagesOfAnOlderUmld) {
  ASSERT_TRUE(Ok(host_->Run({"image", "import", "old", SmallTar(1), "--size", "4M"})));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--image", "old", "--mem", "64M"})));
  const Json before = Image("old");
  host_->Stop();
  const std::string folder = host_->state_dir() + "/images/";
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat(
      "mv ", before["path"].get<std::string>(), " ", folder, "old.img; chmod 444 ", folder, "old.img; sqlite3 ",
      host_->state_dir(), "/umld.db \"UPDATE images SET digest = 'old', mtime_ns = 0, path = '", folder,
      "old.img'; UPDATE image_names SET digest = 'old'; UPDATE guests SET image_digest = 'old'\""))));
  ASSERT_TRUE(host_->Start());
  const Json after = Image("old");
  EXPECT_EQ(after["digest"], before["digest"]);
  EXPECT_EQ(after["path"], folder + "old.img") << "COW files name it";
  EXPECT_EQ(after["guests"], 1);
  EXPECT_EQ(host_->Describe("web1")["image_digest"], before["digest"]);
  EXPECT_TRUE(Ok(host_->Run({"image", "verify", "old"})));
  // The same content once more uses the old file.
  EXPECT_TRUE(Ok(host_->Run({"image", "import", "again", SmallTar(1), "--size", "4M"})));
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(ImagesTest, CowFiles) {
  ASSERT_TRUE(Ok(host_->Run({"image", "build", "tiny"})));
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--image", "tiny", "--mem", "64M"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "echo kept >/root/kept && sync && echo written").out, "written\n");
  const Json disk = DiskOf(host_->Describe("web1"), "ubda");
  const std::string cow = disk["path"], backing = disk["backing"];
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", cow, "--image", "mine"}), kWrongState, {"web1", "runs"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));

  const Json info = Json::parse(host_->Run({"disk", "info", cow, "-o", "json"}).out);
  EXPECT_EQ(info["cow"]["backing"], backing);
  EXPECT_EQ(info["cow"]["problem"], "");
  EXPECT_GT(info["cow"]["written_bytes"].get<uint64_t>(), 0u);
  EXPECT_EQ(info["guests"], Json({"web1"}));
  EXPECT_THAT(host_->Run({"disk", "info", cow}).out, HasSubstr("as it was"));

  ASSERT_TRUE(Ok(host_->Run({"disk", "commit", cow, "--image", "mine"})));
  ASSERT_TRUE(Ok(host_->Shell("uml_moo " + cow + " moo && sha256sum moo | cut -d' ' -f1 >sum")));
  std::string sum;
  std::getline(std::ifstream(host_->Work("sum")), sum);
  EXPECT_EQ(Image("mine")["digest"], "sha256:" + sum) << "as uml_moo makes it";
  ASSERT_TRUE(Ok(host_->Run({"create", "web2", "--image", "mine", "--mem", "64M"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web2"})));
  EXPECT_EQ(host_->RunInGuest("web2", "cat /root/kept").out, "kept\n");

  // Somebody else's COW file, whose backing file was moved.
  ASSERT_TRUE(Ok(host_->Shell("cp --preserve=timestamps " + backing +
                              " base && chmod u+w base && uml_mkcow $PWD/own.cow "
                              "$PWD/base && mv base moved")));
  EXPECT_THAT(host_->Run({"disk", "info", "own.cow"}).out, HasSubstr("disk rebase"));
  EXPECT_TRUE(Refused(host_->Run({"disk", "commit", "own.cow", "--image", "x"}), kUsage, {"--backing"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "rebase", "own.cow", "own.cow"}), kWrongState, {"COW"}));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M short && cp moved copy")));
  EXPECT_TRUE(Refused(host_->Run({"disk", "rebase", "own.cow", "short"}), kWrongState, {"bytes"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "rebase", "own.cow", "copy"}), kWrongState, {"--same-content"}));
  EXPECT_TRUE(Ok(host_->Run({"disk", "rebase", "own.cow", "copy", "--same-content"})));
  EXPECT_TRUE(Ok(host_->Run({"disk", "rebase", "own.cow", "moved", "--same-content"})));
  EXPECT_EQ(Json::parse(host_->Run({"disk", "info", "own.cow", "-o", "json"}).out)["cow"]["problem"], "");
  EXPECT_TRUE(Ok(host_->Run({"disk", "commit", "own.cow", "--image", "x", "--backing", "moved"})));
  EXPECT_EQ(Image("x")["digest"], Image("tiny")["digest"]) << "nothing was written to it";
}

// A real sshd on loopback; the server behind it is a small tree, or this would copy the whole host.
TEST_F(ImagesTest, AServerOverSsh) {
  if (geteuid() != 0) GTEST_SKIP() << "needs an sshd that lets root in";
  const bool made = std::filesystem::create_directory("/run/sshd");
  const int port = 20000 + getpid() % 20000;
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat(
      "set -e; mkdir -p server/proc server/tmp server/etc; for program in /bin/sh /bin/tar /usr/bin/id; do\n"
      "for file in $program $(ldd $program | grep -o '/[^ ]*'); do mkdir -p server${file%/*}; cp -L $file server$file; "
      "done; "
      "done\n"
      "echo old >server/etc/hostname; echo x >server/tmp/x; chown 33:44 server/etc/hostname\n"
      "ssh-keygen -q -t ed25519 -N '' -f hostkey; ssh-keygen -q -t ed25519 -N '' -f key; cp key.pub keys\n"
      "printf '%s\\n' 'Port ",
      port,
      "' 'ListenAddress 127.0.0.1' \"HostKey $PWD/hostkey\" 'PidFile none' 'UsePAM no' "
      "'StrictModes no' 'PermitRootLogin yes' \"AuthorizedKeysFile $PWD/keys\" "
      "\"ForceCommand chroot $PWD/server /bin/sh -c \\\"\\$SSH_ORIGINAL_COMMAND\\\"\" >sshd_config\n"
      "echo \"[127.0.0.1]:",
      port, " $(cat hostkey.pub)\" >known"))));
  {
    const auto sshd = Running::Start(
        host_->MakeCommand({"/usr/sbin/sshd", "-D", "-e", "-f", host_->Work("sshd_config")}), Running::On::kPipes);
    absl::SleepFor(absl::Seconds(1));
    const std::string ssh = absl::StrCat("ssh -p ", port, " -i ", host_->Work("key"),
                                         " -o UserKnownHostsFile=", host_->Work("known"), " -o BatchMode=yes -F none");
    const CommandResult imported =
        host_->Run({"image", "import", "old", "--from-host", "root@127.0.0.1", "--ssh", ssh, "--size", "64M"});
    EXPECT_TRUE(Ok(imported));
    const std::string image = Image("old")["path"];
    EXPECT_THAT(host_->Shell("debugfs -R 'stat /etc/hostname' " + image).out, HasSubstr("User:    33   Group:    44"));
    EXPECT_THAT(host_->Shell("debugfs -R 'stat /tmp/x' " + image).err, HasSubstr("not found"));
    EXPECT_TRUE(Ok(host_->Shell("e2fsck -fn " + image)));
    // What fails over there makes no image here.
    std::filesystem::remove(host_->Work("server/bin/tar"));
    std::filesystem::remove(host_->Work("server/usr/bin/tar"));
    const CommandResult failed =
        host_->Run({"image", "import", "none", "--from-host", "root@127.0.0.1", "--ssh", ssh, "--size", "64M"});
    // After what ssh itself says.
    EXPECT_EQ(failed.exit_code, kBusyOrExists);
    EXPECT_THAT(failed.err, HasSubstr("error: ssh root@127.0.0.1 ended with exit code 127"));
    EXPECT_NE(host_->Run({"image", "describe", "none"}).exit_code, 0);
  }
  if (made) std::filesystem::remove("/run/sshd");
}

TEST(ImageNames, HaveAnEnd) {
  Host host;
  ASSERT_TRUE(host.Start());
  host.BuildTiny();
  for (int i = 1; i < 64; ++i) ASSERT_TRUE(Ok(host.Run({"image", "tag", "tiny", absl::StrCat("name", i)})));
  EXPECT_TRUE(Refused(host.Run({"image", "tag", "tiny", "one-more"}), kWrongState, {"64 names", "delete"}));
  EXPECT_TRUE(Ok(host.Run({"image", "tag", "tiny", "name1"}))) << "it has that one";
}

// The disk as umld finds it full: by what it keeps for guests, and to its last block.
class FullDisk : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(FullDisk, LeavesNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a small filesystem, which only root can mount";
  const auto [reserve, words] = GetParam();
  HostOptions options;
  options.umld_args = {"--disk-reserve", reserve};
  Host host(options);
  std::filesystem::create_directories(host.state_dir());
  ASSERT_EQ(mount("none", host.state_dir().c_str(), "tmpfs", 0, "size=12m,mode=0700"), 0);
  if (host.Start()) {
    EXPECT_TRUE(Ok(host.Shell("head -c 20M /dev/urandom >noise; mkdir r; cp noise r; tar -cf noise.tar r")));
    const CommandResult raw = host.Run({"image", "import", "raw", "noise", "--format", "raw"});
    EXPECT_TRUE(Refused(raw, kBusyOrExists, {words}));
    EXPECT_TRUE(Refused(host.Run({"image", "import", "tar", "noise.tar"}), kBusyOrExists, {"free"}));
    EXPECT_TRUE(Refused(host.Run({"image", "import", "tar", "noise.tar", "--size", "40M"}), kBusyOrExists, {"free"}));
    const CommandResult sent = host.Shell(host.Program("umlctl") + " image import sent - <noise");
    EXPECT_NE(sent.exit_code, 0);
    EXPECT_THAT(sent.err, HasSubstr(words));
    // A few bytes that become all that a disk holds.
    EXPECT_TRUE(Ok(host.Shell("yes | head -c 20M >yes; qemu-img convert -c -O qcow2 yes small.qcow2")));
    EXPECT_TRUE(Refused(host.Run({"image", "import", "qcow2", "small.qcow2"}), kBusyOrExists, {}));
    EXPECT_TRUE(std::filesystem::is_empty(host.state_dir() + "/images"));
    EXPECT_EQ(host.Run({"image", "list", "-o", "name"}).out, "");
    // And there is room again.
    EXPECT_TRUE(Ok(host.Run({"image", "build", "tiny"})));
  }
  host.Stop();
  EXPECT_EQ(umount(host.state_dir().c_str()), 0);
  host.Finish();
}

INSTANTIATE_TEST_SUITE_P(, FullDisk,
                         testing::Values(std::pair("256M", "kept for guests"), std::pair("0", "No space left")),
                         [](const auto& param) { return param.index == 0 ? "OfWhatIsNotKept" : "ToItsLastBlock"; });

}  // namespace
}  // namespace umld::tests
