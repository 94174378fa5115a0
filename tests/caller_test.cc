// A user of the host who may use umld's API and is not root: what it names on the host is opened with its own
// permissions, at once and at every later start.
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Nobody's on any sane machine.
constexpr uid_t kUser = 61234;

class CallerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (getuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    const group* daemon = getgrnam("daemon");
    ASSERT_NE(daemon, nullptr);
    group_ = daemon->gr_gid;
    ASSERT_TRUE(host_.Start());
    // The build tree may lie where that user cannot look.
    ASSERT_TRUE(Ok(host_.Shell("cp " + host_.Program("umlctl") +
                               " umlctl; mkdir theirs; truncate -s 1M secret; "
                               "chmod 600 secret; chmod 755 .; chown " +
                               absl::StrCat(kUser, ":", kUser) + " theirs")));
  }

  // umlctl as that user, in its own folder.
  CommandResult As(std::vector<std::string> words) {
    std::vector<std::string> argv = {"setpriv",
                                     absl::StrCat("--reuid=", kUser),
                                     absl::StrCat("--regid=", kUser),
                                     absl::StrCat("--groups=", group_),
                                     "--",
                                     host_.Work("umlctl")};
    argv.insert(argv.end(), words.begin(), words.end());
    Command command = host_.MakeCommand(argv);
    command.folder = Theirs("");
    return RunToEnd(command);
  }
  std::string Theirs(const std::string& file) const { return host_.Work("theirs/" + file); }
  testing::AssertionResult Denied(const CommandResult& result, const std::string& what) {
    return Refused(result, kDenied, {what, absl::StrCat("uid ", kUser)});
  }

  Host host_{HostOptions{.umld_args = {"--group", "daemon"}}};
  gid_t group_ = 0;
};

TEST_F(CallerTest, OnlyTheGroupGetsIn) {
  struct stat info = {};
  ASSERT_EQ(stat(host_.socket().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  EXPECT_EQ(info.st_gid, group_);
  EXPECT_TRUE(Ok(As({"list"})));
  group_ = kUser;
  EXPECT_TRUE(Refused(As({"list"}), kDenied, {"ermission denied", "daemon"}));
}

TEST_F(CallerTest, AUserOfTooManyGroupsIsTold) {
  const auto make_in = [&](int groups) {
    std::string all = absl::StrCat(group_);
    for (int i = 1; i < groups; ++i) absl::StrAppend(&all, ",", 100000 + i);
    return host_.Shell(absl::StrCat("setpriv --reuid=", kUser, " --regid=", kUser, " --groups=", all, " -- ",
                                    host_.Work("umlctl"), " --address ", host_.socket(), " disk create ",
                                    Theirs(absl::StrCat("of-", groups)), " --size 1M"));
  };
  EXPECT_TRUE(Ok(make_in(256)));
  EXPECT_TRUE(Refused(make_in(257), kDenied, {"257 groups"}));
}

// Behind /proc there may be file systems of another's making, which need not answer.
TEST_F(CallerTest, NoPathLeadsThroughAnotherProcess) {
  ASSERT_TRUE(Ok(host_.Shell("truncate -s 1M theirs/disk; chown " + absl::StrCat(kUser) + " theirs/disk")));
  ASSERT_TRUE(host_.Create("web1"));
  const std::string through = absl::StrCat("/proc/", getpid(), "/root", Theirs("disk"));
  ASSERT_TRUE(Ok(host_.Shell("ln -s " + through + " theirs/link")));
  for (const std::string& path : {through, Theirs("link")}) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"plug", "web1", "ubdb=" + path},
                                                  {"disk", "info", path},
                                                  {"image", "import", "theirs", path},
                                                  {"volume", "import", "theirs", path},
                                                  {"kernel", "import", "theirs", path}}) {
      const CommandResult result = host_.Run(words);
      EXPECT_NE(result.exit_code, 0) << result;
      EXPECT_THAT(result.err, HasSubstr("symbolic link"));
    }
  }
  EXPECT_TRUE(Ok(As({"plug", "web1", "ubdb=" + Theirs("disk")})));
}

TEST_F(CallerTest, ItsFilesAreOpenedAsItself) {
  host_.BuildTiny();
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M"})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));

  // Its own.
  ASSERT_TRUE(Ok(As({"disk", "create", "data", "--size", "1M"})));
  struct stat info = {};
  ASSERT_EQ(stat(Theirs("data").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kUser);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_TRUE(Ok(As({"plug", "web1", "ubdb=data"})));
  EXPECT_EQ(host_.RunInGuest("web1", "echo mine | dd of=/dev/ubdb conv=fsync 2>/dev/null && head -c 4 /dev/ubdb").out,
            "mine");
  ASSERT_TRUE(Ok(host_.Shell("truncate -s 1M theirs/base")));
  ASSERT_TRUE(Ok(As({"plug", "web1", "ubdc=new.cow,base"})));
  ASSERT_EQ(stat(Theirs("new.cow").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kUser) << "what umld makes for it is its own";
  ASSERT_TRUE(Ok(As({"disk", "resize", "web1", "ubdb", "2M"})));

  // As well for umld's next life and the guest's.
  host_.Kill9();
  ASSERT_TRUE(host_.Start());
  ASSERT_TRUE(Ok(As({"reboot", "web1"})));
  EXPECT_EQ(host_.RunInGuest("web1", "head -c 4 /dev/ubdb; blockdev --getsize64 /dev/ubdb").out, "mine2097152\n");
}

// What a folder is, is told from the names in it; where links among them lead is not umld's to look at.
TEST_F(CallerTest, AnImportTellsNothingOfRootsFiles) {
  ASSERT_TRUE(Ok(host_.Shell("mkdir -p locked theirs/image/blobs; chmod 700 locked; echo {} >locked/there")));
  std::set<std::string> answers;
  for (const char* name : {"there", "nowhere"}) {
    ASSERT_TRUE(Ok(host_.Shell(absl::StrCat("ln -sfn ", host_.Work("locked/"), name, " theirs/image/index.json"))));
    const CommandResult imported = As({"image", "import", absl::StrCat("image-", name), "image"});
    answers.insert(absl::StrCat(imported.exit_code, absl::StrReplaceAll(imported.err, {{name, "NAME"}})));
  }
  EXPECT_EQ(answers.size(), 1U) << absl::StrJoin(answers, "\n");
}

// The copy of a COW file is umld's own, and its backing file is not: both become one whole disk.
TEST_F(CallerTest, ACloneOfItsOwnCowFileIsOneWholeDisk) {
  host_.BuildTiny();
  ASSERT_TRUE(Ok(As({"image", "export", "tiny", "base.img"})));
  ASSERT_TRUE(Ok(As({"create", "web1", "--mem", "64M", "--disk", "ubda=root.cow,base.img"})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  ASSERT_EQ(host_
                .RunInGuest("web1",
                            "echo 0123456789abcdef0123456789abcdef >/etc/machine-id; echo web1 >/etc/hostname; "
                            "head -c 3000000 /dev/urandom >/data; echo made")
                .out,
            "made\n");
  const std::string sums =
      "find /bin /data /etc -type f ! -name hostname ! -name machine-id | sort | xargs md5sum | md5sum";
  const std::string sum = host_.RunInGuest("web1", sums).out;
  const std::string base = host_.Shell("md5sum <theirs/base.img").out;
  const CommandResult cloned = As({"clone", "web1", "web2"});
  ASSERT_TRUE(Ok(cloned));
  EXPECT_THAT(cloned.err, AllOf(HasSubstr("what is under it"), HasSubstr("machine-id"), HasSubstr("name is web2")));
  const Json root = DiskOf(host_.Describe("web2"), "ubda");
  EXPECT_EQ(root["backing"], "");
  EXPECT_EQ(root["managed"], true);
  EXPECT_THAT(root["path"].get<std::string>(), HasSubstr(host_.state_dir()));
  // It needs neither.
  ASSERT_TRUE(Ok(As({"kill", "web1"})));
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/root.cow kept.cow && mv theirs/base.img kept.img")));
  ASSERT_TRUE(Ok(As({"start", "web2"})));
  EXPECT_EQ(host_.RunInGuest("web2", sums).out, sum);
  EXPECT_EQ(host_.RunInGuest("web2", "wc -c </etc/machine-id; cat /etc/hostname").out, "0\nweb2\n");
  // The source is as it was.
  ASSERT_TRUE(Ok(host_.Shell("mv kept.cow theirs/root.cow && mv kept.img theirs/base.img")));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  EXPECT_EQ(host_.RunInGuest("web1", "cat /etc/machine-id /etc/hostname").out,
            "0123456789abcdef0123456789abcdef\nweb1\n");
  EXPECT_EQ(host_.Shell("md5sum <theirs/base.img").out, base);
}

TEST_F(CallerTest, ItsCowFilesAreLookedIntoAsItself) {
  ASSERT_TRUE(Ok(As({"disk", "create", "base", "--size", "8M"})));
  ASSERT_TRUE(Ok(host_.Shell("mke2fs -q -F -b 1024 theirs/base")));
  const CommandResult created = As({"create", "web1", "--mem", "64M", "--disk", "ubdb=new.cow,base"});
  ASSERT_TRUE(Ok(created));
  EXPECT_THAT(created.err, HasSubstr("warning: ubdb: AT RISK: "));
  // Not umld's permissions say what can be read.
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/base base && ln -s ../base theirs/base && chown 0:0 base && chmod 600 base")));
  const Json disk = DiskOf(host_.Describe("web1"), "ubdb");
  EXPECT_EQ(disk["risk"], "");
  EXPECT_THAT(disk["problem"].get<std::string>(), HasSubstr("ermission denied"));
}

TEST_F(CallerTest, RootsFilesStayShut) {
  host_.BuildTiny();
  const std::string secret = host_.Work("secret");
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M"})));
  for (bool running : {false, true}) {
    SCOPED_TRACE(running);
    if (running) {
      ASSERT_TRUE(Ok(As({"start", "web1"})));
    }
    EXPECT_TRUE(Denied(As({"plug", "web1", "ubdb=" + secret}), secret));
    EXPECT_TRUE(Denied(As({"plug", "web1", "ubdbr=" + secret}), secret));
    EXPECT_TRUE(Denied(As({"plug", "web1", "ubdb=x.cow," + secret}), secret));
    EXPECT_TRUE(Denied(As({"plug", "web1", "ubdb=../new.cow,../umlctl"}), "ubdb")) << "a file in root's folder";
    EXPECT_TRUE(Denied(As({"mconsole", "web1", "config", "ubdb=" + secret}), secret));
  }
  EXPECT_TRUE(Denied(As({"create", "web2", "--disk", "ubda=" + secret}), secret));
  EXPECT_TRUE(Denied(As({"disk", "create", "../new", "--size", "1M"}), "new"));
  ASSERT_TRUE(Ok(host_.Run({"plug", "web1", "ubdb=" + secret})));
  EXPECT_TRUE(Denied(As({"disk", "resize", "web1", "ubdb", "2M"}), secret));
  EXPECT_TRUE(Ok(host_.Run({"disk", "resize", "web1", "ubdb", "2M"})));
}

// The path that was checked leads to another file later.
TEST_F(CallerTest, ALaterStartOpensNothingMore) {
  host_.BuildTiny();
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M"})));
  ASSERT_TRUE(Ok(As({"disk", "create", "data", "--size", "1M"})));
  ASSERT_TRUE(Ok(As({"plug", "web1", "ubdb=data"})));
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/data theirs/kept; ln -s ../secret theirs/data")));
  EXPECT_TRUE(Denied(host_.Run({"start", "web1"}), Theirs("data")));
  host_.Kill9();
  ASSERT_TRUE(host_.Start());
  EXPECT_TRUE(Denied(host_.Run({"start", "web1"}), Theirs("data"))) << "umld has not forgotten whose disk it is";
  EXPECT_THAT(DiskOf(host_.Describe("web1"), "ubdb")["problem"].get<std::string>(), HasSubstr("ermission denied"));

  ASSERT_TRUE(Ok(host_.Shell("rm theirs/data; mv theirs/kept theirs/data")));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/data theirs/kept; ln -s ../secret theirs/data")));
  // vmcore's own start of the next kernel.
  EXPECT_NE(host_.Run({"reboot", "web1"}).exit_code, kOk);
  EXPECT_TRUE(host_.WaitForState("web1", "CRASHED"));
  EXPECT_THAT(host_.Describe("web1")["last_exit"]["reason"].get<std::string>(),
              testing::AllOf(HasSubstr(Theirs("data")), HasSubstr(absl::StrCat("for uid ", kUser))));
}

TEST_F(CallerTest, WhatIsForAdminsIsRefused) {
  host_.BuildTiny();
  const std::vector<std::string> create = {"create", "web1", "--image", "tiny"};
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--confinement", "relaxed", "--trust", "trusted"},
           {"--arg", "initrd=" + host_.Work("secret")},
           {"--arg", "mconsole=notify:/run/systemd/notify"},
           {"--con", "con2=tty:/dev/tty1"},
           {"--con", "con2=port:80"},
           {"--nic", "vec0:transport=tap,host=8.8.8.1/1"},
           {"--nic", "eth0=tuntap,enp9s0"},
       }) {
    std::vector<std::string> words = create;
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_TRUE(Denied(As(words), "")) << more[1];
  }
  // A kernel is read with the caller's permissions; one that is here is for all, and so are its modules.
  EXPECT_TRUE(Denied(As({"kernel", "import", "mine", host_.Work("secret")}), "secret"));
  ASSERT_TRUE(Ok(As({"kernel", "import", "deb", "/usr/bin/linux.uml", "--modules", "/usr/lib/uml/modules"})));
  ASSERT_TRUE(Ok(As({"create", "web2", "--image", "tiny", "--kernel", "deb", "--disk", "ubdb=modules:"})));
  ASSERT_TRUE(Ok(As({"delete", "web2"})));
  ASSERT_TRUE(Ok(As(create)));
  EXPECT_TRUE(Denied(As({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"}), "not confined"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "con2=tty:/dev/tty1"}), "terminal"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "eth0=tuntap,,,192.0.2.1/24"}), "host's end"));
  EXPECT_TRUE(Denied(As({"mconsole", "web1", "config", "eth0=tuntap,,,192.0.2.1/24"}), "host's end"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "eth0=tuntap,wg0"}), "tap"));
  EXPECT_TRUE(Ok(As({"plug", "web1", "eth0=tuntap,tap-web1"})));
  // It may have put something there before.
  ASSERT_TRUE(Ok(As({"disk", "create", "data", "--size", "1M"})));
  ASSERT_TRUE(Ok(As({"plug", "web1", "ubdb=data"})));
  EXPECT_TRUE(Refused(host_.Run({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"}), kWrongState,
                      {Theirs("data"), "unplug web1 ubdb"}));
  ASSERT_TRUE(Ok(As({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_.Run({"start", "web1"})));
  ASSERT_TRUE(Ok(host_.Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(As({"snapshot", "create", "web1", "then"})));
  ASSERT_TRUE(Ok(host_.Run({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"})));
  EXPECT_TRUE(Denied(As({"plug", "web1", "ubdb=data"}), "not confined"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "vec0:transport=raw,ifname=eth0"}), "not confined"));
  EXPECT_TRUE(Denied(As({"set", "web1", "--kernel", "deb"}), "not confined"));
  EXPECT_TRUE(Denied(As({"set", "web1", "--arg", "init=/bin/sh"}), "not confined"));
  EXPECT_TRUE(Denied(As({"clone", "web1", "web3"}), "not confined"));
  EXPECT_TRUE(Denied(As({"disk", "commit", DiskOf(host_.Describe("web1"), "ubda")["path"], "--image", "stolen"}),
                     "not confined"));
  // Nor which kernel that is.
  EXPECT_TRUE(Denied(As({"kernel", "default", "deb"}), "web1"));
  ASSERT_TRUE(Ok(host_.Run({"set", "web1", "--kernel", "deb"})));
  ASSERT_TRUE(Ok(As({"kernel", "default", "deb"}))) << "nobody follows it";
  ASSERT_TRUE(Ok(As({"kernel", "default", "system"})));
  EXPECT_TRUE(Denied(As({"kernel", "delete", "deb"}), "web1"));
  // As it runs, whatever is to be from its next start on.
  ASSERT_TRUE(Ok(host_.Run({"start", "web1"})));
  ASSERT_TRUE(Ok(As({"set", "web1", "--confinement", "strict"})));
  EXPECT_TRUE(Denied(As({"plug", "web1", "ubdb=data"}), "not confined"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "vec0:transport=raw,ifname=eth0"}), "not confined"));
  EXPECT_TRUE(Denied(As({"plug", "web1", "con2=port:9000"}), "not confined"));
  EXPECT_TRUE(Denied(As({"console", "web1"}), "not confined")) << "who is root there is root here";
  EXPECT_TRUE(Denied(As({"set", "web1", "--kernel", "system"}), "not confined"));
  EXPECT_TRUE(Denied(As({"kernel", "delete", "deb"}), "web1"));
  EXPECT_TRUE(Denied(As({"mconsole", "web1", "config\tvec0:transport=raw,ifname=eth0"}), "not confined"));
  EXPECT_TRUE(Denied(As({"mconsole", "web1", "proc", "1/root/etc/shadow"}), "not confined"));
  EXPECT_TRUE(Denied(As({"export", "web1", "stolen"}), "not confined"));
  EXPECT_TRUE(Denied(As({"snapshot", "restore", "web1", "then", "--force"}), "not confined"));
  EXPECT_TRUE(Ok(As({"logs", "web1", "con0"})));
  ASSERT_TRUE(Ok(host_.Run({"stop", "web1"})));
  EXPECT_TRUE(Ok(As({"plug", "web1", "ubdb=data"}))) << "it is confined from now on";
  EXPECT_TRUE(Ok(As({"snapshot", "delete", "web1", "--all"})));
}

// A kernel by its path, at every boot: it is theirs to open, and no device or socket.
TEST_F(CallerTest, ItsKernelIsOpenedAsItself) {
  host_.BuildTiny();
  ASSERT_TRUE(
      Ok(host_.Shell("install -m 755 /usr/bin/linux.uml theirs/kernel; install -m 700 /usr/bin/linux.uml shut")));
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M", "--kernel", Theirs("kernel")})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/kernel theirs/kept; ln -s ../shut theirs/kernel")));
  auto reboot_fails = [&] {
    EXPECT_NE(host_.Run({"reboot", "web1"}).exit_code, kOk);
    EXPECT_TRUE(host_.WaitForState("web1", "CRASHED"));
    return host_.Describe("web1")["last_exit"]["reason"].get<std::string>();
  };
  EXPECT_THAT(reboot_fails(), AllOf(HasSubstr(Theirs("kernel")), HasSubstr(absl::StrCat("for uid ", kUser))));
  EXPECT_TRUE(Denied(host_.Run({"start", "web1"}), Theirs("kernel")));
  host_.Kill9();
  ASSERT_TRUE(host_.Start());
  EXPECT_TRUE(Denied(host_.Run({"start", "web1"}), Theirs("kernel"))) << "umld has not forgotten whose kernel it is";
  // Who may open it may have it run.
  ASSERT_TRUE(Ok(host_.Run({"set", "web1", "--kernel", Theirs("kernel")})));
  ASSERT_TRUE(Ok(host_.Run({"start", "web1"})));
  ASSERT_TRUE(Ok(host_.Run({"stop", "web1"})));

  ASSERT_TRUE(Ok(host_.Shell("ln -sf kept theirs/kernel")));
  ASSERT_TRUE(Ok(As({"set", "web1", "--kernel", Theirs("kernel")})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  ASSERT_TRUE(Ok(host_.Shell("rm theirs/kernel; mkfifo -m 777 theirs/kernel")));
  EXPECT_THAT(reboot_fails(), AllOf(HasSubstr(Theirs("kernel")), HasSubstr("not a regular file")));
}

// What is under a COW file, whoever's that is.
TEST_F(CallerTest, BackingFilesAreOpenedAsItself) {
  host_.BuildTiny();
  ASSERT_TRUE(Ok(As({"disk", "create", "base", "--size", "1M"})));
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M", "--disk", "ubdb=x.cow,base"})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));  // which makes the COW file
  ASSERT_TRUE(Ok(As({"stop", "web1"})));
  ASSERT_TRUE(Ok(As({"snapshot", "create", "web1", "s"})));
  ASSERT_TRUE(Ok(As({"export", "web1", "whole", "--snapshot", "s"})));
  ASSERT_TRUE(Ok(As({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(As({"export", "web1", "unplugged", "--snapshot", "s"})));
  // A file of root's that looks as the old one did.
  ASSERT_TRUE(Ok(host_.Shell("touch -r theirs/base secret; mv theirs/base theirs/kept; ln -s ../secret theirs/base")));
  EXPECT_TRUE(Denied(As({"export", "web1", "stolen", "--snapshot", "s"}), Theirs("base")));
  EXPECT_TRUE(Ok(host_.Run({"export", "web1", "roots", "--snapshot", "s"}))) << "root may";
  ASSERT_TRUE(Ok(host_.Shell("rm theirs/base; mv theirs/kept theirs/base")));

  // A disk that umld opens gets nothing under it that a caller has put there.
  ASSERT_TRUE(Ok(As({"snapshot", "delete", "web1", "--all"})));
  ASSERT_TRUE(Ok(As({"create", "web2", "--image", "tiny", "--mem", "64M"})));
  ASSERT_TRUE(Ok(As({"start", "web2"})));
  ASSERT_TRUE(Ok(As({"stop", "web2"})));
  const Json root = DiskOf(host_.Describe("web2"), "ubda");
  const std::string cow = root["path"], image = root["backing"];
  ASSERT_TRUE(Ok(As({"image", "export", "tiny", "copy"})));
  EXPECT_TRUE(Denied(As({"disk", "rebase", cow, "copy", "--same-content"}), "no image"));
  EXPECT_TRUE(Ok(As({"disk", "rebase", cow, image, "--same-content"})));
  ASSERT_TRUE(Ok(As({"start", "web2"})));
  ASSERT_TRUE(Ok(As({"stop", "web2"})));
  ASSERT_TRUE(Ok(host_.Run({"set", "web2", "--confinement", "relaxed", "--trust", "trusted"})));
  EXPECT_TRUE(Denied(As({"disk", "rebase", cow, image, "--same-content"}), "not confined"));
  EXPECT_TRUE(Ok(host_.Run({"disk", "rebase", cow, Theirs("copy"), "--same-content"})));
}

// The copy is umld's own; what is read and what is replaced is theirs.
TEST_F(CallerTest, ItsDisksAreCopiedAndGivenBackAsItself) {
  ASSERT_TRUE(Ok(As({"disk", "create", "data", "--size", "1M"})));
  ASSERT_TRUE(Ok(As({"create", "web1", "--disk", "ubda=data"})));
  ASSERT_TRUE(Ok(host_.Shell("echo then | dd of=theirs/data conv=notrunc 2>/dev/null; chmod 640 theirs/data")));
  ASSERT_TRUE(Ok(As({"snapshot", "create", "web1", "s"})));
  ASSERT_TRUE(Ok(host_.Shell("echo now. | dd of=theirs/data conv=notrunc 2>/dev/null")));
  // A folder that it may not write to any more, though root may.
  ASSERT_TRUE(Ok(host_.Shell("chown root theirs; chmod 755 theirs")));
  EXPECT_TRUE(Denied(As({"snapshot", "restore", "web1", "s"}), Theirs("data")));
  EXPECT_EQ(host_.Shell("head -c 4 theirs/data; ls theirs").out, "now.data\n");
  ASSERT_TRUE(Ok(host_.Shell(absl::StrCat("chown ", kUser, " theirs"))));
  ASSERT_TRUE(Ok(host_.Run({"snapshot", "restore", "web1", "s"}))) << "whoever asks";
  struct stat info = {};
  ASSERT_EQ(stat(Theirs("data").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kUser);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(host_.Shell("head -c 4 theirs/data; ls theirs").out, "thendata\n");
  // The path leads to a file of root's now.
  ASSERT_TRUE(Ok(host_.Shell("mv theirs/data theirs/kept; echo >> secret; ln -s ../secret theirs/data")));
  EXPECT_TRUE(Denied(host_.Run({"snapshot", "create", "web1", "stolen"}), Theirs("data")));
  EXPECT_FALSE(Ok(host_.Run({"snapshot", "restore", "web1", "s"})));
  EXPECT_EQ(host_.Shell("ls theirs").out, "data\nkept\n");
  EXPECT_TRUE(Ok(As({"snapshot", "delete", "web1", "--all"})));
}

// Volumes are umld's, and for whoever may use it; the files that they are made of and written to are not.
TEST_F(CallerTest, VolumesAreForAll) {
  host_.BuildTiny();
  ASSERT_TRUE(Ok(As({"volume", "create", "data", "--size", "16M", "--format", "ext4"})));
  ASSERT_TRUE(Ok(As({"create", "web1", "--image", "tiny", "--mem", "64M", "--disk", "ubdb=volume:data"})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  EXPECT_EQ(host_.RunInGuest("web1", "mount /dev/ubdb /mnt && echo mine >/mnt/file && umount /mnt && echo ok").out,
            "ok\n");
  ASSERT_TRUE(Ok(As({"volume", "resize", "data", "32M"})));
  ASSERT_TRUE(Ok(As({"stop", "web1"})));
  ASSERT_TRUE(Ok(As({"start", "web1"})));
  ASSERT_TRUE(Ok(As({"stop", "web1"})));
  ASSERT_TRUE(Ok(As({"volume", "resize", "data", "64M"})));
  ASSERT_TRUE(Ok(As({"volume", "export", "data", "out"})));
  struct stat info = {};
  ASSERT_EQ(stat(Theirs("out").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kUser);
  EXPECT_TRUE(Denied(As({"volume", "export", "data", host_.Work("out")}), "create"));
  EXPECT_TRUE(Denied(As({"volume", "import", "stolen", host_.Work("secret")}), "secret"));
  ASSERT_TRUE(Ok(As({"volume", "import", "copy", "out"})));
  // By the path, one is a volume, and anything else of umld's stays shut.
  EXPECT_TRUE(
      Denied(As({"create", "web2", "--image", "tiny", "--disk", "ubdb=" + host_.state_dir() + "/umld.db"}), "umld.db"));
  EXPECT_TRUE(Denied(
      As({"create", "web2", "--image", "tiny", "--disk", "ubdb=new.cow," + host_.state_dir() + "/volumes/copy.img"}),
      "copy.img"));
  ASSERT_TRUE(Ok(As({"delete", "web1"})));
  ASSERT_TRUE(Ok(As({"volume", "delete", "data", "copy"})));
}

}  // namespace
}  // namespace umld::tests
