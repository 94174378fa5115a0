#include "vmcore/mconsole_client.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

class MconsoleClientTest : public testing::Test {
 protected:
  MconsoleClientTest() {
    folder_ = "/tmp/mconsole_client_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    path_ = folder_ + "/mconsole";
    loop_ = *EventLoop::Create();
    replies_ = folder_ + "/replies";
    EXPECT_TRUE(MakeShownFolder(replies_).ok());
    client_ = std::make_unique<MconsoleClient>(loop_.get(), path_, replies_);
  }
  ~MconsoleClientTest() override {
    client_.reset();
    kernel_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartKernel(FakeMconsole::Handler handler) {
    kernel_ = std::make_unique<FakeMconsole>(loop_.get(), path_, std::move(handler));
  }

  using Result = absl::StatusOr<MconsoleAnswer>;
  // Sends, and runs the loop until the answer is there.
  Result Ask(const std::string& command, milliseconds deadline = milliseconds(2000)) {
    Result result = absl::InternalError("no answer");
    client_->Send(command, deadline, [&](const Result& answer) {
      result = answer;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }
  void RunFor(milliseconds time) {
    loop_->RunAfter(time, [this] { loop_->Quit(); });
    loop_->Run();
  }

  std::string folder_, path_, replies_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> client_;
  std::unique_ptr<FakeMconsole> kernel_;
};

TEST_F(MconsoleClientTest, AsksAndGetsAnAnswer) {
  StartKernel([&](const std::string& command, const FakeMconsole::Peer& from) {
    EXPECT_EQ(command, "version");
    kernel_->Reply(from, "Linux 6.1");
  });
  Result result = Ask("version");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->error, 0);
  EXPECT_EQ(result->text, "Linux 6.1");
  EXPECT_TRUE(client_->answers());
}

TEST_F(MconsoleClientTest, TheFirstFragmentCarriesTheError) {
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    kernel_->Reply(from, "one,", -16, /*more=*/true);
    kernel_->Reply(from, "two,", 0, /*more=*/true);
    kernel_->Reply(from, "three", 0);
  });
  Result result = Ask("remove ubdb");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->error, -16);
  EXPECT_EQ(result->text, "one,two,three");
}

TEST_F(MconsoleClientTest, BytesThatAreNotAsciiAreReplaced) {
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) { kernel_->Reply(from, "a\xff\xc3z"); });
  EXPECT_EQ(Ask("proc x")->text, "a??z");
}

// A confined kernel has a network namespace of its own.
TEST_F(MconsoleClientTest, TheKernelMayBeInAnotherNetworkNamespace) {
  if (geteuid() != 0) GTEST_SKIP() << "only root makes network namespaces";
  const pid_t kernel = fork();
  if (kernel == 0) {
    // With another user, too.
    if (unshare(CLONE_NEWNET) != 0 || chown(folder_.c_str(), 65534, 65534) != 0 || setuid(65534) != 0) _exit(1);
    auto loop = *EventLoop::Create();
    std::unique_ptr<FakeMconsole> fake;
    fake = std::make_unique<FakeMconsole>(
        loop.get(), path_,
        [&](const std::string& command, const FakeMconsole::Peer& from) { fake->Reply(from, "heard " + command); });
    loop->RunAfter(milliseconds(20000), [&] { loop->Quit(); });
    loop->Run();
    _exit(2);
  }
  while (!std::filesystem::exists(path_)) usleep(1000);
  Result result = Ask("version");
  EXPECT_EQ(result.ok() ? result->text : std::string(result.status().message()), "heard version");
  kill(kernel, SIGKILL);
  waitpid(kernel, nullptr, 0);
}

// It could lead to another guest's.
TEST_F(MconsoleClientTest, ASymbolicLinkIsNoMconsole) {
  std::vector<std::string> heard;
  auto neighbour = std::make_unique<FakeMconsole>(
      loop_.get(), folder_ + "/neighbour",
      [&](const std::string& command, const FakeMconsole::Peer&) { heard.push_back(command); });
  std::filesystem::create_symlink(folder_ + "/neighbour", path_);
  EXPECT_EQ(Ask("halt", milliseconds(200)).status().code(), absl::StatusCode::kUnavailable);
  RunFor(milliseconds(20));
  EXPECT_TRUE(heard.empty());
}

TEST_F(MconsoleClientTest, ReplySocketsAreNeverUsedTwiceAndGo) {
  std::vector<std::string> paths;
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) { paths.push_back(from.address.sun_path); });
  EXPECT_FALSE(Ask("cad", milliseconds(30)).ok());
  EXPECT_FALSE(Ask("cad", milliseconds(30)).ok());
  EXPECT_EQ(paths, (std::vector<std::string>{replies_ + "/1", replies_ + "/2"}));
  EXPECT_TRUE(std::filesystem::is_empty(replies_));
  // What a guest puts there is replaced, and not followed.
  std::filesystem::create_symlink("/nonexistent", replies_ + "/3");
  EXPECT_FALSE(Ask("cad", milliseconds(30)).ok());
  EXPECT_EQ(paths.size(), 3U);
  client_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(replies_));
}

TEST_F(MconsoleClientTest, OneRequestIsInFlightAtATime) {
  std::vector<std::string> seen;
  int unanswered = 0;
  StartKernel([&](const std::string& command, const FakeMconsole::Peer& from) {
    seen.push_back(command);
    EXPECT_EQ(++unanswered, 1);
    loop_->RunAfter(milliseconds(10), [&, from, command] {
      --unanswered;
      kernel_->Reply(from, command);
    });
  });
  std::vector<std::string> answers;
  for (const char* command : {"one", "two", "three"}) {
    client_->Send(command, milliseconds(2000), [&](const Result& answer) {
      answers.push_back(answer->text);
      if (answers.size() == 3) loop_->Quit();
    });
  }
  EXPECT_TRUE(seen.empty()) << "nothing runs inside Send";
  loop_->Run();
  EXPECT_EQ(answers, (std::vector<std::string>{"one", "two", "three"}));
}

TEST_F(MconsoleClientTest, LengthsThatTheKernelRefusesAreNotSent) {
  int requests = 0;
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    ++requests;
    kernel_->Reply(from, "");
  });
  EXPECT_EQ(Ask("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask(std::string(512, 'x')).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(requests, 0);
  EXPECT_TRUE(Ask(std::string(511, 'x')).ok());
  EXPECT_EQ(requests, 1);
}

TEST_F(MconsoleClientTest, NobodyThere) {
  EXPECT_EQ(Ask("version").status().code(), absl::StatusCode::kUnavailable);  // no file
  StartKernel([](const std::string&, const FakeMconsole::Peer&) {});
  kernel_.reset();
  EXPECT_EQ(Ask("version").status().code(), absl::StatusCode::kUnavailable);  // a stale one
  EXPECT_TRUE(client_->answers()) << "not being there is not being silent";
}

TEST_F(MconsoleClientTest, AQuestionIsSentTwice) {
  int requests = 0;
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    if (++requests == 2) kernel_->Reply(from, "late but well");
  });
  Result result = Ask("config ubdb", milliseconds(300));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "late but well");
}

TEST_F(MconsoleClientTest, ACommandIsNotSentTwice) {
  int requests = 0;
  bool changed = false;
  client_->OnAnswersChanged([&] { changed = true; });
  StartKernel([&](const std::string&, const FakeMconsole::Peer&) { ++requests; });
  for (const char* command : {"config ubdb=/x", "remove ubdb", "halt", "cad", "sysrq s"}) {
    requests = 0;
    EXPECT_EQ(Ask(command, milliseconds(100)).status().code(), absl::StatusCode::kDeadlineExceeded) << command;
    EXPECT_EQ(requests, 1) << command;
  }
  EXPECT_FALSE(client_->answers());
  EXPECT_TRUE(changed);
}

TEST_F(MconsoleClientTest, ALateAnswerIsNotTakenForTheNext) {
  FakeMconsole::Peer late;
  StartKernel([&](const std::string& command, const FakeMconsole::Peer& from) {
    if (command == "first") {
      late = from;
      return;
    }
    kernel_->Reply(late, "answer to first");
    kernel_->Reply(from, "answer to second");
  });
  EXPECT_EQ(Ask("first", milliseconds(50)).status().code(), absl::StatusCode::kDeadlineExceeded);
  Result second = Ask("second");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->text, "answer to second");
  EXPECT_TRUE(client_->answers()) << "it answers again";
}

TEST_F(MconsoleClientTest, AnUnfinishedAnswerTimesOut) {
  StartKernel(
      [&](const std::string&, const FakeMconsole::Peer& from) { kernel_->Reply(from, "begin", 0, /*more=*/true); });
  EXPECT_EQ(Ask("stack 1", milliseconds(100)).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(MconsoleClientTest, NobodyElseCanAnswer) {
  std::string stranger_path = folder_ + "/stranger";
  FakeMconsole stranger(loop_.get(), stranger_path, [](const std::string&, const FakeMconsole::Peer&) {});
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    EXPECT_FALSE(stranger.Reply(from, "lies"));
    kernel_->Reply(from, "truth");
  });
  EXPECT_EQ(Ask("version")->text, "truth");
}

TEST_F(MconsoleClientTest, ManyFragmentsDoNotOverflow) {
  // 34 at once is what `sysrq m` was seen to send; the kernel drops what does not fit into a queue of 10. The fake
  // sends from the loop's thread, so the queue must be emptied between its turns.
  int left = 34;
  FakeMconsole::Peer to;
  std::function<void()> send = [&] {
    for (int i = 0; i < 10 && left > 0; ++i, --left) {
      EXPECT_TRUE(kernel_->Reply(to, std::string(500, 'x'), 0, /*more=*/left > 1));
    }
    if (left > 0) loop_->RunAfter(milliseconds(1), send);
  };
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    to = from;
    send();
  });
  Result result = Ask("sysrq m");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text.size(), 34U * 500U);
}

TEST_F(MconsoleClientTest, GarbageIsIgnored) {
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    kernel_->SendRaw(from, "x");
    kernel_->SendRaw(from, "");
    kernel_->Reply(from, "good");
  });
  EXPECT_EQ(Ask("version")->text, "good");
}

TEST_F(MconsoleClientTest, AbandonTellsEverybody) {
  StartKernel([](const std::string&, const FakeMconsole::Peer&) {});
  std::vector<absl::StatusCode> codes;
  for (int i = 0; i < 3; ++i) {
    client_->Send("stop", milliseconds(5000), [&](const Result& r) { codes.push_back(r.status().code()); });
  }
  RunFor(milliseconds(20));
  client_->Abandon("the guest's kernel has ended");
  EXPECT_EQ(codes, std::vector<absl::StatusCode>(3, absl::StatusCode::kCancelled));
  RunFor(milliseconds(20));
  EXPECT_EQ(codes.size(), 3U);
}

TEST_F(MconsoleClientTest, MayBeDestroyedInACallback) {
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) { kernel_->Reply(from, ""); });
  client_->Send("one", milliseconds(1000), [&](const Result&) {
    client_.reset();
    loop_->Quit();
  });
  client_->Send("two", milliseconds(1000), [](const Result&) { FAIL(); });
  loop_->Run();
  RunFor(milliseconds(20));
}

// A guest that has taken over its kernel.
TEST_F(MconsoleClientTest, FragmentsWithoutEndLeaveTheLoopToOthers) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> senders;
  StartKernel([&](const std::string&, const FakeMconsole::Peer& from) {
    for (int i = 0; i < 3; ++i) {
      senders.emplace_back([&, from] {
        while (!stop) kernel_->Reply(from, "more", 0, true);
      });
    }
  });
  const auto before = EventLoop::Clock::now();
  Result result = Ask("sysrq m", milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
  EXPECT_LT(EventLoop::Clock::now() - before, std::chrono::seconds(5));
  stop = true;
  for (std::thread& sender : senders) sender.join();
}

}  // namespace
}  // namespace umld::vmcore
