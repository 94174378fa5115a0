// Snapshots of several guests at one point in time, of which the oldest go, and which came from which.
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

class SnapshotSets : public SharedHost {
 protected:
  void TearDown() override {
    for (const std::string& name : host_->Names()) {
      EXPECT_TRUE(Ok(host_->Run({"snapshot", "delete", name, "--all"})));
    }
    EXPECT_EQ(Folders(), 0);
    SharedHost::TearDown();
  }
  std::string List(const std::string& guest) { return host_->Run({"snapshot", "list", guest, "-o", "name"}).out; }
  int Folders() { return std::stoi(host_->Shell("ls " + host_->state_dir() + "/snapshots 2>/dev/null | wc -l").out); }
  // The tree without the columns behind it.
  std::string Tree(const std::string& guest) {
    return host_
        ->Shell(host_->Program("umlctl") + " snapshot list --tree --no-headers " + guest +
                R"( | sed 's/  *[-0-9].*$//')")
        .out;
  }
  static constexpr char kMarkers[] = "/guests/*/paused-for-snapshot 2>/dev/null | wc -l";
};

// When the numbers were written to a guest's ubdb, by the clock that umld has too.
struct Writes {
  std::vector<absl::Time> begun, done;
};

// Somebody writes to one of the guests all the time: what is in its copy was begun before the moment that all of the
// snapshots say they are of, and what is not was not done by then.
TEST_F(SnapshotSets, EveryCopyIsOfTheSameMoment) {
  for (const std::string name : {"web1", "web2"}) {
    ASSERT_TRUE(Ok(host_->Shell("head -c 200000000 /dev/urandom > " + name + ".disk")));
    ASSERT_TRUE(host_->CreateAndStart(name, {"--label", "lab=net1", "--disk", "ubdb=" + name + ".disk"}));
  }
  ASSERT_TRUE(host_->Create("web3", {"--label", "lab=net1"}));
  ASSERT_TRUE(host_->Create("other"));
  const auto write = [&](Running& shell, Writes* writes) {
    writes->begun.push_back(absl::Now());
    const std::string number = absl::StrCat(1'000'000 + writes->done.size());
    int exit_code = -1;
    std::string out;
    const bool ok = RunAtPrompt(shell, "printf " + number + " | dd of=/dev/ubdb conv=fsync 2>/dev/null", kPatience,
                                &exit_code, &out);
    writes->done.push_back(absl::Now());
    return ok && exit_code == 0;
  };
  for (const std::string name : {"web1", "web2"}) {
    SCOPED_TRACE(name);
    const std::string folders = host_->state_dir() + "/snapshots";
    Writes writes;
    std::unique_ptr<Running> shell = host_->RunBeside({"console", name, "con1"}, Running::On::kTerminal);
    ASSERT_TRUE(LogIn(*shell, kPatience) && write(*shell, &writes));
    std::unique_ptr<Running> taking = host_->RunBeside({"snapshot", "create", "-l", "lab=net1", "of-" + name});
    while (!taking->HasEnded()) ASSERT_TRUE(write(*shell, &writes));
    ASSERT_EQ(taking->Wait(), kOk) << taking->err();
    EXPECT_THAT(taking->out(),
                testing::AllOf(HasSubstr("web1: snapshot "), HasSubstr("web2: snapshot "), HasSubstr("web3: snapshot "),
                               HasSubstr(", paused "), HasSubstr("2 guests stood still together for ")));
    const Json all = Json::parse(host_->Run({"snapshot", "list", "-o", "json"}).out);
    ASSERT_EQ(all.size(), 3u);
    for (const Json& one : all) {
      EXPECT_EQ(one["create_time"], all[0]["create_time"]);
      EXPECT_EQ(one["together"], all[0]["together"]);
      EXPECT_EQ(one["operation"], all[0]["operation"]);
      EXPECT_TRUE(one["synced"]);
    }
    absl::Time moment;
    std::string error;
    ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, all[0]["create_time"].get<std::string>(), &moment, &error))
        << error;
    // The folders are in the order of the guests.
    const std::string nth = name == "web1" ? "head -1" : "tail -1";
    const std::string text = host_->Shell("head -c 7 $(ls -d " + folders + "/*/ubdb | " + nth + ")").out;
    const size_t number = static_cast<size_t>(std::stoi(text) - 1'000'000);
    ASSERT_LT(number, writes.done.size());
    EXPECT_LT(writes.begun[number], moment) << number << " of " << writes.done.size();
    if (number + 1 < writes.done.size()) {
      EXPECT_GT(writes.done[number + 1], moment) << number;
    }
    for (const std::string guest : {"web1", "web2", "web3"}) {
      ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", guest, "--all"})));
    }
  }
  EXPECT_EQ(List("other"), "");

  // In the middle of the pause umld is killed: all of them go on, and there is none.
  ASSERT_TRUE(host_->KillAt("copy_file_range", 2));
  std::unique_ptr<Running> taking =
      host_->RunBeside({"snapshot", "create", "-g", "web1", "-g", "web2", "-g", "web3", "killed"});
  ASSERT_TRUE(host_->WaitForKill());
  EXPECT_EQ(host_->Shell("ls " + host_->run_dir() + kMarkers).out, "2\n");
  ASSERT_TRUE(host_->Start());
  taking->Wait(absl::Seconds(60));
  for (const std::string name : {"web1", "web2"}) {
    ASSERT_TRUE(host_->WaitForState(name, "RUNNING"));
    EXPECT_EQ(host_->RunInGuest(name, "echo here").out, "here\n");
    EXPECT_EQ(List(name), "");
  }
  EXPECT_EQ(Folders(), 0);
  EXPECT_EQ(host_->Shell("ls " + host_->run_dir() + kMarkers).out, "0\n");
  EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "--no-headers"}).out, "");
  EXPECT_TRUE(Ok(host_->Run({"kill", "web1", "web2"})));
  for (const std::string name : {"web1", "web2"}) ASSERT_TRUE(Ok(host_->Run({"unplug", name, "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("rm web1.disk web2.disk")));
}

TEST_F(SnapshotSets, OverlapOtherWorkAndFailAsOne) {
  for (const std::string name : {"web1", "web2"}) ASSERT_TRUE(host_->CreateAndStart(name));
  ASSERT_TRUE(host_->Create("web3"));
  std::unique_ptr<Running> a = host_->RunBeside({"snapshot", "create", "-g", "web1", "-g", "web3", "a"});
  std::unique_ptr<Running> b = host_->RunBeside({"snapshot", "create", "-g", "web3", "-g", "web2", "-g", "web1", "b"});
  std::unique_ptr<Running> c = host_->RunBeside({"snapshot", "create", "web2", "c"});
  EXPECT_TRUE(Ok(host_->Run({"pause", "web1"})));
  EXPECT_TRUE(Ok(host_->Run({"resume", "web1"})));
  for (Running* one : {a.get(), b.get(), c.get()}) EXPECT_EQ(one->Wait(), kOk) << one->err();

  // One that cannot be fails all of them, before anything is done to any.
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web3", "taken"})));
  const std::string before = host_->Run({"snapshot", "list", "-o", "name"}).out;
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "taken"}), kBusyOrExists, {"web3", "\"taken\""}));
  const pid_t supervisor = host_->Describe("web2")["processes"]["supervisor_pid"];
  host_->Kill9();
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "mute"}), kWrongState, {"web2", "UNREACHABLE"}));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  ASSERT_TRUE(host_->WaitForState("web2", "RUNNING"));
  EXPECT_EQ(host_->Run({"snapshot", "list", "-o", "name"}).out, before);
  EXPECT_EQ(Folders(), 7);
}

TEST_F(SnapshotSets, ADeviceOfTheHostFailsAllOfThem) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a device";
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M file && losetup -f --show file > device")));
  const std::string device = host_->Shell("printf %s $(cat device)").out;
  ASSERT_TRUE(host_->Create("web2", {"--disk", "ubdb=" + device}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "s"}), kWrongState, {"web2", "ubdb", device}));
  EXPECT_EQ(List("web1"), "");
  EXPECT_EQ(Folders(), 0);
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web2", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("losetup -d $(cat device) && rm file device")));
}

TEST_F(SnapshotSets, RefusesWhatIsNoSet) {
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "s"}), kWrongState, {"writable disk"}));
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create"}), kUsage, {"guest"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "-g", "web1", "s"}), kUsage, {"--all"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "--all", "web1", "s"}), kUsage, {"web1", "s"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "-g", "nobody", "s"}), kNotFound, {"nobody"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "-l", "=", "s"}), kUsage, {"label"}));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "create", "-l", "no=body", "s"}), kWrongState, {"writable disk"}));
  EXPECT_EQ(host_->Run({"snapshot", "create", "web1", "--keep", "0"}).exit_code, kUsage);
  EXPECT_EQ(host_->Run({"snapshot", "create", "-g", "web1", "-g", "web1", "once", "-o", "name"}).out, "once\n");
}

TEST_F(SnapshotSets, TheOldestOfARotationGoAndNoOthers) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "named"})));
  for (const std::string name : {"r1", "r2", "r3", "r4"}) {
    ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "--all", name, "--keep", "2"})));
  }
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "later"})));
  EXPECT_EQ(List("web1"), "named\nr3\nr4\nlater\n");
  EXPECT_EQ(List("web2"), "r3\nr4\n");
  EXPECT_EQ(Folders(), 6);
  EXPECT_EQ(Tree("web1"), "web1\n  named\n  r3\n  r4\n  later  <- now\n");
  // What the database says outlives umld, and what it has in memory was the same.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(Tree("web1"), "web1\n  named\n  r3\n  r4\n  later  <- now\n");
  // More of them, and fewer.
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "r5", "--keep", "9"})));
  EXPECT_EQ(List("web1"), "named\nr3\nr4\nlater\nr5\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "r6", "--keep", "1"})));
  EXPECT_EQ(List("web1"), "named\nlater\nr6\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "named"})));
}

TEST_F(SnapshotSets, TheTreeIsWhatCameFromWhat) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M read")));
  ASSERT_TRUE(host_->Create("web1", {"--disk", "ubdbr=read"}));
  const CommandResult made = host_->Run({"snapshot", "create", "web1", "base"});
  EXPECT_THAT(made.err, HasSubstr("left out: ubdb: read-only"));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "a"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "a2"})));
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "restore", "web1", "base"})));
  EXPECT_EQ(Tree("web1"), "web1\n  base  <- now\n  a\n  a2\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "create", "web1", "b"})));
  EXPECT_EQ(Tree("web1"), "web1\n  base\n  |- a\n  |  a2\n  `- b  <- now\n");
  ASSERT_TRUE(Ok(host_->Run({"snapshot", "delete", "web1", "b", "a"})));
  EXPECT_EQ(Tree("web1"), "web1\n  base  <- now\n  a2\n");
  const Json shown = Json::parse(host_->Run({"snapshot", "describe", "web1", "a2", "-o", "json"}).out);
  EXPECT_EQ(shown["parent"], "guests/web1/snapshots/base");
  EXPECT_EQ(shown["left_out"], Json::parse(R"(["ubdb: read-only"])"));
  EXPECT_THAT(host_->Run({"snapshot", "describe", "web1", "a2"}).out,
              testing::AllOf(HasSubstr("base"), HasSubstr("ubda"), HasSubstr("ubdb: read-only")));
  EXPECT_TRUE(Refused(host_->Run({"snapshot", "describe", "web1", "gone"}), kNotFound, {"web1", "\"gone\""}));
  ASSERT_TRUE(Ok(host_->Run({"reset", "web1"})));
  EXPECT_EQ(Tree("web1"), "web1  <- now\n  base\n  a2\n");
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Shell("rm read")));
}

// Where the filesystem shares blocks, neither a snapshot nor a restore takes any.
TEST(SnapshotReflink, TakesNoSpace) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, for a filesystem of its own";
  Host host;
  const std::string state = host.state_dir();
  if (!Ok(host.Shell(
          "mkfs.xfs -V >/dev/null 2>&1 && truncate -s 400M xfs && mkfs.xfs -q -m reflink=1 xfs && mkdir -p " + state +
          " && mount -o loop xfs " + state))) {
    host.Shell("rm -f xfs");
    GTEST_SKIP() << "no xfs here";
  }
  EXPECT_TRUE(Ok(host.Shell("chmod 700 " + state)));
  EXPECT_TRUE(host.Start());
  EXPECT_TRUE(Ok(host.Shell("head -c 100000000 /dev/urandom > data")));
  EXPECT_TRUE(Ok(host.Run({"volume", "import", "data", "data", "--format", "raw"})));
  EXPECT_TRUE(Ok(host.Run({"create", "web1", "--disk", "ubda=volume:data"})));
  const auto used = [&] { return std::stoi(host.Shell("sync; df --output=used -BM " + state + " | tail -1").out); };
  const int before = used();
  EXPECT_TRUE(Ok(host.Run({"snapshot", "create", "web1", "s"})));
  EXPECT_TRUE(Ok(host.Shell("echo changed | dd of=" + state + "/volumes/data.img conv=notrunc 2>/dev/null")));
  EXPECT_TRUE(Ok(host.Run({"snapshot", "restore", "web1", "s"})));
  EXPECT_EQ(host.Shell("cmp -n 100000000 data " + state + "/volumes/data.img && echo same").out, "same\n");
  EXPECT_LE(used() - before, 10) << "megabytes, of 95";
  EXPECT_TRUE(Ok(host.Run({"snapshot", "delete", "web1", "--all"})));
  EXPECT_TRUE(Ok(host.Run({"delete", "web1"})));
  EXPECT_TRUE(Ok(host.Run({"volume", "delete", "data"})));
  host.Stop();
  EXPECT_TRUE(Ok(host.Shell("umount " + state + " && rm xfs data")));
}

}  // namespace
}  // namespace umld::tests
