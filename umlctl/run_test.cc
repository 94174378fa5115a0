#include "umlctl/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "umlctl/fake_daemon.h"

namespace umld::umlctl {
namespace {

class RunTest : public testing::Test {
 protected:
  RunTest() : socket_(MakeFolder() + "/umld.sock"), daemon_(socket_) {}

  static std::string MakeFolder() {
    std::string folder = "/tmp/umlctl_test_XXXXXX";
    return mkdtemp(folder.data()) == nullptr ? "" : folder;
  }
  ~RunTest() override {
    daemon_.Down();
    unlink(socket_.c_str());
    rmdir(socket_.substr(0, socket_.rfind('/')).c_str());
  }

  // Words are divided by single spaces.
  int Umlctl(const std::string& line) {
    std::vector<std::string> words = absl::StrSplit(line, ' ');
    words.push_back("--address=" + socket_);
    std::ostringstream out;
    std::ostringstream err;
    const ExitCode code = umlctl::Run(words, {out, err});
    out_ = out.str();
    err_ = err.str();
    return code;
  }
  bool WasCalled(const std::string& call) {
    const std::vector<std::string> calls = daemon_.calls();
    return std::find(calls.begin(), calls.end(), call) != calls.end();
  }
  // Until the daemon has got it: the other thread is that far.
  void AwaitCall(const std::string& call) {
    for (int i = 0; i < 500 && !WasCalled(call); ++i) absl::SleepFor(absl::Milliseconds(10));
    ASSERT_TRUE(WasCalled(call)) << call;
  }
  // Whoever follows a log while the daemon is away for a moment; `log` is all of it when that is back.
  void FollowLogThroughARestart(const std::string& log) {
    daemon_.AddGuest("web1", v1::RUNNING);
    int code = -1;
    std::thread umlctl([&] { code = Umlctl("logs web1 -f"); });
    AwaitCall("ReadConsoleLog guests/web1/consoles/con0 0 follow");
    daemon_.Down();
    daemon_.SetLog(log);
    daemon_.Up();
    // The second ends: the fake only keeps the first one open.
    umlctl.join();
    EXPECT_EQ(code, 0) << err_;
  }

  std::string socket_;
  FakeDaemon daemon_;
  std::string out_;
  std::string err_;
};

TEST_F(RunTest, CreateStartListStopDelete) {
  EXPECT_EQ(Umlctl("create web1 --image tiny --mem 256M --disk ubdb=a --disk ubdc=/c,d --arg quiet"), 0) << err_;
  EXPECT_EQ(out_, "web1\n");
  const v1::Guest guest = daemon_.guest("web1");
  EXPECT_EQ(guest.image(), "images/tiny");
  EXPECT_EQ(guest.memory_bytes(), 256u << 20);
  ASSERT_EQ(guest.disks_size(), 2);
  EXPECT_TRUE(absl::StartsWith(guest.disks(0).spec(), "ubdb=/")) << guest.disks(0).spec();
  EXPECT_TRUE(absl::StartsWith(guest.disks(1).spec(), "ubdc=/c,/")) << guest.disks(1).spec();
  EXPECT_EQ(guest.kernel_args(0), "quiet");

  EXPECT_EQ(Umlctl("start web1"), 0) << err_;
  EXPECT_EQ(out_, "web1: started\n");
  EXPECT_EQ(Umlctl("list"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "web1  RUNNING  256M    -       tiny   ubdb,ubdc\n")) << out_;
  EXPECT_EQ(Umlctl("list --no-headers -o name"), 0);
  EXPECT_EQ(out_, "web1\n");
  EXPECT_EQ(Umlctl("stop web1 --timeout 10s"), 0);
  EXPECT_EQ(out_, "web1: stopped\n");
  EXPECT_TRUE(WasCalled("StopGuest 10s guests/web1"));
  EXPECT_EQ(Umlctl("delete guests/web1"), 0);
  EXPECT_EQ(out_, "web1: deleted\n");
  EXPECT_EQ(Umlctl("list -o json"), 0);
  EXPECT_EQ(out_, "[]\n");
}

TEST_F(RunTest, CreateWithoutANamePrintsTheRandomOne) {
  EXPECT_EQ(Umlctl("create --image tiny"), 0);
  EXPECT_EQ(out_, "guest-random1\n");
}

TEST_F(RunTest, SeveralGuestsOneLineEachAndTheWorstCode) {
  for (const char* name : {"web1", "web2", "crash1"}) daemon_.AddGuest(name, v1::STOPPED);
  EXPECT_EQ(Umlctl("start web1 nobody web2 crash1"), kExitNotFound);
  EXPECT_TRUE(absl::StrContains(out_, "web1: started\n")) << out_;
  EXPECT_TRUE(absl::StrContains(out_, "web2: started\n")) << out_;
  EXPECT_TRUE(absl::StrContains(err_, "error: guest crash1: it crashed: no root filesystem\nhint:  umlctl logs\n"));
  EXPECT_TRUE(absl::StrContains(err_, "error: there is no guest nobody\nhint:  umlctl list\n")) << err_;
  EXPECT_EQ(Umlctl("start crash1"), kExitGuestSaidNo);
  EXPECT_EQ(Umlctl("start web1"), kExitWrongState);
  EXPECT_EQ(err_, "error: guest web1: it is RUNNING\nhint:  stop it first\n");
}

TEST_F(RunTest, WhatUmldWarnsOfGoesToStderr) {
  daemon_.AddGuest("risky", v1::STOPPED);
  EXPECT_EQ(Umlctl("start risky"), 0);
  EXPECT_EQ(out_, "risky: started\n");
  EXPECT_EQ(err_, "warning: ubdb: AT RISK: why\n");
  // Of several, each says whose it is.
  for (const char* name : {"risk1", "safe"}) daemon_.AddGuest(name, v1::STOPPED);
  EXPECT_EQ(Umlctl("start --all -o json"), 0);
  EXPECT_EQ(nlohmann::json::parse(out_).size(), 2u);
  EXPECT_EQ(err_, "warning: risk1: ubdb: AT RISK: why\n");
}

TEST_F(RunTest, AllMeansThoseThatItConcerns) {
  for (const char* name : {"a", "b", "c", "d", "e"}) daemon_.AddGuest(name, v1::STOPPED);
  daemon_.AddGuest("up", v1::RUNNING);
  EXPECT_EQ(Umlctl("start --all -o json"), 0) << err_;
  EXPECT_EQ(nlohmann::json::parse(out_).size(), 5u);
  EXPECT_EQ(Umlctl("pause --all"), 0);
  EXPECT_EQ(daemon_.guest("up").state(), v1::PAUSED);
  EXPECT_EQ(Umlctl("resume --all"), 0);
  EXPECT_EQ(Umlctl("start --all"), 0);
  EXPECT_EQ(out_, "");
  EXPECT_EQ(Umlctl("delete --all"), kExitWrongState);
  EXPECT_EQ(Umlctl("delete --all --force"), 0) << err_;
}

TEST_F(RunTest, ChangesCarryDifferentRequestIds) {
  daemon_.AddGuest("web1", v1::STOPPED);
  EXPECT_EQ(Umlctl("start web1"), 0);
  EXPECT_EQ(Umlctl("kill web1"), 0);
  const std::vector<std::string> ids = daemon_.request_ids();
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(ids[0].size(), 32u);
  EXPECT_NE(ids[0], ids[1]);
}

TEST_F(RunTest, UsageErrorsAreTwo) {
  for (const char* line : {"strat web1", "start", "start --all web1", "create -x", "create --mem 1Q",
                           "wait web1 --for x", "image", "image biuld", "start web/1", "stop web1 --timeout soon",
                           "set web1", "list more", "plug web1 ubdb", "start --follow a b", "completion csh"}) {
    EXPECT_EQ(Umlctl(line), kExitUsage) << line << "\n" << err_;
    EXPECT_TRUE(absl::StartsWith(err_, "error: ")) << line;
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 2) << line << "\n" << err_;
    EXPECT_TRUE(absl::StrContains(err_, "\nhint:  ")) << line;
  }
}

TEST_F(RunTest, AGuestMayBeCalledLikeAVerb) {
  daemon_.AddGuest("list", v1::STOPPED);
  EXPECT_EQ(Umlctl("start list"), 0) << err_;
  EXPECT_EQ(Umlctl("mconsole list stop"), 0) << err_;
  EXPECT_EQ(out_, "OK stop\n");
}

TEST_F(RunTest, NoDaemonIsSevenAtOnce) {
  daemon_.Down();
  const absl::Time begin = absl::Now();
  EXPECT_EQ(Umlctl("list"), kExitUnreachable);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
  EXPECT_TRUE(absl::StrContains(err_, socket_)) << err_;
  daemon_.Up();
}

TEST_F(RunTest, Devices) {
  daemon_.AddGuest("web1", v1::RUNNING);
  EXPECT_EQ(Umlctl("plug web1 ubdb=/srv/cow,/srv/base --live-only"), 0);
  EXPECT_EQ(out_, "web1: plugged ubdb=/srv/cow,/srv/base\n");
  EXPECT_TRUE(WasCalled("PlugDevice ubdb=/srv/cow,/srv/base live guests/web1"));
  EXPECT_EQ(Umlctl("plug web1 ubdb=swap"), 0);
  EXPECT_FALSE(absl::StrContains(out_, "ubdb=swap")) << out_;
  EXPECT_EQ(Umlctl("config web1 ubdb"), 0);
  EXPECT_EQ(out_, "/srv/x.cow,/srv/base.img\n");
  EXPECT_EQ(Umlctl("config web1 ubdd"), 0);
  EXPECT_EQ(out_, "\n");
  EXPECT_EQ(Umlctl("unplug web1 ubdb"), kExitWrongState);
  EXPECT_EQ(err_, "error: guest web1: ubdb is open inside the guest\nhint:  umount it inside\n");
}

TEST_F(RunTest, Mconsole) {
  daemon_.AddGuest("web1", v1::RUNNING);
  EXPECT_EQ(Umlctl("mconsole web1 config ubdb"), 0);
  EXPECT_EQ(out_, "OK config ubdb\n");
  EXPECT_EQ(Umlctl("mconsole web1 bad"), kExitGuestSaidNo);
  EXPECT_TRUE(absl::StrContains(err_, "error: guest web1: Unknown command\n")) << err_;
  EXPECT_EQ(Umlctl("sysrq web1 m"), 0);
  EXPECT_EQ(out_, "OK sysrq m\n");
  EXPECT_EQ(Umlctl("stack web1 1"), 0);
  EXPECT_EQ(out_, "OK stack 1\n");
  EXPECT_EQ(Umlctl("proc web1 meminfo"), 0);
  EXPECT_EQ(out_, "OK proc meminfo\n");
  EXPECT_EQ(Umlctl("proc web1"), kExitUsage);
}

TEST_F(RunTest, DescribeSetRename) {
  daemon_.AddGuest("web1", v1::RUNNING);
  EXPECT_EQ(Umlctl("set web1 --mem 128M --arg a=1 --arg b"), 0) << err_;
  EXPECT_TRUE(absl::StrContains(err_, "holds from the next boot")) << err_;
  EXPECT_EQ(daemon_.guest("web1").memory_bytes(), 128u << 20);
  EXPECT_EQ(daemon_.guest("web1").kernel_args_size(), 2);
  EXPECT_EQ(Umlctl("set web1 --no-args"), 0);
  EXPECT_EQ(daemon_.guest("web1").kernel_args_size(), 0);
  EXPECT_EQ(Umlctl("rename web1 web2"), 0);
  EXPECT_EQ(out_, "web1: renamed to web2\n");
  EXPECT_EQ(Umlctl("describe web2"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "RUNNING")) << out_;
  EXPECT_EQ(Umlctl("describe web2 -o json"), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["name"], "guests/web2");
  EXPECT_EQ(Umlctl("describe web1 web2 -o json"), kExitNotFound);
  EXPECT_EQ(nlohmann::json::parse(out_).size(), 1u);
}

TEST_F(RunTest, LogsAreRawForPrograms) {
  daemon_.AddGuest("web1", v1::RUNNING);
  EXPECT_EQ(Umlctl("logs web1 --tail 5"), 0);
  EXPECT_EQ(out_, "Linux version 6.1\r\n\033[31mred\n");
  EXPECT_TRUE(WasCalled("ReadConsoleLog guests/web1/consoles/con0 5"));
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(umlctl::Run({"logs", "web1", "con1", "--address", socket_}, {out, err, /*out_is_terminal=*/true}), 0);
  EXPECT_EQ(out.str(), "Linux version 6.1\nred\n");
}

TEST_F(RunTest, FollowedLogFindsItsPlaceAfterARestart) {
  FollowLogThroughARestart("Linux version 6.1\r\n\033[31mred\nmeanwhile\n");
  EXPECT_EQ(out_, "Linux version 6.1\r\n\033[31mred\nmeanwhile\n");
  EXPECT_FALSE(absl::StrContains(err_, "missing")) << err_;
}

TEST_F(RunTest, FollowedLogThatRepeatsItselfFindsItsPlaceAfterARestart) {
  daemon_.SetLog("tick\n");
  FollowLogThroughARestart("tick\ntick\ntick\n");
  EXPECT_EQ(out_, "tick\ntick\ntick\n");
}

TEST_F(RunTest, FollowedLogWhosePlaceIsGoneAfterARestartSaysSo) {
  FollowLogThroughARestart("much later\n");
  EXPECT_EQ(out_, "Linux version 6.1\r\n\033[31mred\nmuch later\n");
  EXPECT_TRUE(absl::StrContains(err_, "some lines may be missing here")) << err_;
}

TEST_F(RunTest, FollowedLogThatWasEmptyIsWholeAfterARestart) {
  daemon_.SetLog("");
  FollowLogThroughARestart("its first line\n");
  EXPECT_EQ(out_, "its first line\n");
}

TEST_F(RunTest, ImagesDisksHost) {
  EXPECT_EQ(Umlctl("image build tiny --name base"), 0);
  EXPECT_EQ(out_, "base: built\n");
  EXPECT_EQ(Umlctl("image list"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "base  sha256:001122334455  8 MiB")) << out_;
  EXPECT_EQ(Umlctl("image describe base -o yaml"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "size_bytes: 8388608\n")) << out_;
  EXPECT_EQ(Umlctl("image tag base base:old"), 0);
  EXPECT_EQ(Umlctl("image verify base base:old"), 0);
  EXPECT_EQ(Umlctl("image verify nothing"), kExitNotFound);
  EXPECT_EQ(Umlctl("image prune"), 0);
  EXPECT_NE(out_.find("sha256:0123456789ab: deleted\n5 MiB freed"), std::string::npos) << out_;
  EXPECT_EQ(Umlctl("image delete base"), 0);
  EXPECT_EQ(Umlctl("image delete base"), kExitNotFound);
  EXPECT_EQ(Umlctl("disk create /srv/x --size 1G"), 0);
  EXPECT_TRUE(WasCalled("CreateDiskFile /srv/x 1073741824"));
  EXPECT_EQ(Umlctl("host check"), kExitGuestSaidNo);
  EXPECT_TRUE(absl::StrContains(out_, "user namespaces  NO   detail  remedy\n")) << out_;
  EXPECT_EQ(Umlctl("host info"), 0);
  EXPECT_EQ(Umlctl("version"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "umld   9.9.9\n")) << out_;
}

TEST_F(RunTest, OperationsAndEvents) {
  EXPECT_EQ(Umlctl("create web1"), 0);
  EXPECT_EQ(Umlctl("create web2"), 0);
  EXPECT_EQ(Umlctl("start web1"), 0);
  EXPECT_EQ(Umlctl("operations list"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "1   start  guests/web1  done")) << out_;
  EXPECT_EQ(Umlctl("operations describe 1"), 0);
  EXPECT_EQ(Umlctl("events"), 0);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 4) << out_;
  EXPECT_EQ(Umlctl("events web1 -o json"), 0);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 2) << out_;
}

TEST_F(RunTest, WaitsForAnOperationThroughARestart) {
  daemon_.AddGuest("slow1", v1::STOPPED);
  int code = -1;
  std::thread umlctl([&] { code = Umlctl("start slow1"); });
  AwaitCall("WaitOperation operations/1");
  daemon_.Down();
  daemon_.Up();
  daemon_.Finish();
  umlctl.join();
  EXPECT_EQ(code, 0) << err_;
  EXPECT_EQ(out_, "slow1: started\n");
}

TEST_F(RunTest, WaitForAState) {
  daemon_.AddGuest("web1", v1::STOPPED);
  EXPECT_EQ(Umlctl("wait web1 --for stopped"), 0) << err_;
  EXPECT_EQ(Umlctl("wait nobody"), kExitNotFound);
  EXPECT_EQ(Umlctl("wait web1 --for running --timeout 50ms"), kExitTimedOut);
  EXPECT_TRUE(absl::StrContains(err_, "guest web1 is STOPPED, not RUNNING, after 50ms")) << err_;
  int code = -1;
  std::thread umlctl([&] { code = Umlctl("wait web1 --timeout 30s"); });
  AwaitCall("Watch guests/web1 []");
  daemon_.SetState("web1", v1::RUNNING);
  umlctl.join();
  EXPECT_EQ(code, 0) << err_;
  EXPECT_EQ(out_, "web1: running\n");
  daemon_.SetState("web1", v1::CRASHED, "panic");
  EXPECT_EQ(Umlctl("wait web1 --for stopped"), kExitGuestSaidNo);
}

TEST_F(RunTest, FollowStaysThroughARestartAndEndsAsTheGuestDoes) {
  daemon_.AddGuest("web1", v1::STOPPED);
  int code = -1;
  std::thread umlctl([&] { code = Umlctl("start --follow web1"); });
  AwaitCall("Watch guests/web1 []");
  daemon_.Down();
  daemon_.Up();
  AwaitCall("Watch guests/web1 [1]");
  daemon_.SetState("web1", v1::CRASHED, "Kernel panic");
  umlctl.join();
  EXPECT_EQ(code, kExitGuestSaidNo);
  EXPECT_TRUE(absl::StrContains(err_, "error: guest web1 crashed: Kernel panic\n")) << err_;

  daemon_.SetState("web1", v1::RUNNING);
  std::thread again([&] { code = Umlctl("start --follow web1"); });
  AwaitCall("Watch guests/web1 []");
  absl::SleepFor(absl::Milliseconds(100));
  daemon_.SetState("web1", v1::STOPPED);
  again.join();
  EXPECT_EQ(code, 0) << err_;
}

TEST_F(RunTest, CompletionIsLive) {
  daemon_.AddGuest("web1", v1::STOPPED);
  EXPECT_EQ(Umlctl("__complete guests"), 0);
  EXPECT_EQ(out_, "web1\n");
  EXPECT_EQ(Umlctl("completion bash"), 0);
  EXPECT_TRUE(absl::StrContains(out_, "complete -F _umlctl umlctl")) << out_;
}

}  // namespace
}  // namespace umld::umlctl
