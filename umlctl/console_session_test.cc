#include "umlctl/console_session.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "umlctl/fake_daemon.h"

namespace umld::umlctl {
namespace {

std::string ReadUntilEnd(int fd) {
  std::string all;
  char buffer[256];
  for (ssize_t got = 0; (got = read(fd, buffer, sizeof(buffer))) > 0;) all.append(buffer, static_cast<size_t>(got));
  return all;
}

class ConsoleSessionTest : public testing::Test {
 protected:
  ConsoleSessionTest() : socket_(MakeFolder() + "/umld.sock"), daemon_(socket_) {
    daemon_.AddGuest("web1", v1::RUNNING);
    client_ = *Client::Connect(socket_);
    options_.console = "guests/web1/consoles/con1";
    options_.linger = absl::Milliseconds(100);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) {
      out_read_.reset(ends[0]);
      out_write_.reset(ends[1]);
    }
  }
  ~ConsoleSessionTest() override {
    client_.reset();
    daemon_.Down();
    unlink(socket_.c_str());
    rmdir(socket_.substr(0, socket_.rfind('/')).c_str());
  }
  static std::string MakeFolder() {
    std::string folder = "/tmp/umlctl_test_XXXXXX";
    return mkdtemp(folder.data()) == nullptr ? "" : folder;
  }
  // A pipe with `text` in it and nobody to write more.
  static UniqueFd Piped(const std::string& text) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(ends[1]);
    return UniqueFd(ends[0]);
  }
  absl::Status Attach(int in) {
    const absl::Status status = RunConsole(*client_, options_, in, out_write_.get(), [this](const std::string& line) {
      absl::MutexLock lock(&mutex_);
      notes_.push_back(line);
    });
    out_write_.reset();
    return status;
  }
  void AwaitCalls(const std::string& call, long times) {
    for (int i = 0; i < 500; ++i) {
      const std::vector<std::string> calls = daemon_.calls();
      if (std::count(calls.begin(), calls.end(), call) >= times) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    FAIL() << call;
  }

  std::string socket_;
  FakeDaemon daemon_;
  std::unique_ptr<Client> client_;
  ConsoleOptions options_;
  UniqueFd out_read_;
  UniqueFd out_write_;
  absl::Mutex mutex_;
  std::vector<std::string> notes_;
};

TEST_F(ConsoleSessionTest, PipedInputAndThenSilence) {
  const UniqueFd in = Piped("root\n");
  EXPECT_TRUE(Attach(in.get()).ok());
  EXPECT_EQ(ReadUntilEnd(out_read_.get()), "login: root\n");
  EXPECT_EQ(daemon_.console_input(), "root\n");
}

TEST_F(ConsoleSessionTest, TheGuestsEndIsTheEnd) {
  const UniqueFd in = Piped("poweroff\n");
  options_.linger = absl::Hours(1);
  EXPECT_TRUE(Attach(in.get()).ok());
}

TEST_F(ConsoleSessionTest, MuchInputArrivesWhole) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd in(ends[0]);
  const std::string text(300'000, 'x');
  std::thread feeder([&] {
    size_t done = 0;
    while (done < text.size()) done += static_cast<size_t>(write(ends[1], text.data() + done, text.size() - done));
    close(ends[1]);
  });
  std::string output;
  std::thread drain([&] { output = ReadUntilEnd(out_read_.get()); });
  EXPECT_TRUE(Attach(in.get()).ok());
  feeder.join();
  drain.join();
  EXPECT_EQ(daemon_.console_input().size(), text.size());
  EXPECT_EQ(output.size(), text.size() + 7);
}

TEST_F(ConsoleSessionTest, ReadOnlySendsNothing) {
  options_.read_only = true;
  const UniqueFd in = Piped("rm -rf /\n");
  EXPECT_TRUE(Attach(in.get()).ok());
  EXPECT_EQ(daemon_.console_input(), "");
  EXPECT_EQ(daemon_.calls().back(), "AttachConsole guests/web1/consoles/con1 8192 ro");
}

TEST_F(ConsoleSessionTest, TheDaemonsErrorComesThrough) {
  options_.console = "guests/nobody/consoles/con1";
  const UniqueFd in = Piped("");
  EXPECT_EQ(Attach(in.get()).code(), absl::StatusCode::kNotFound);
}

TEST_F(ConsoleSessionTest, ATerminalDetachesByKeyAndSurvivesARestart) {
  int master = -1;
  int slave = -1;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  const UniqueFd keyboard(master);
  const UniqueFd in(slave);
  termios before = {};
  ASSERT_EQ(tcgetattr(slave, &before), 0);
  absl::Status status;
  std::thread session([&] { status = Attach(slave); });
  AwaitCalls("AttachConsole guests/web1/consoles/con1 8192", 1);
  daemon_.Down();
  daemon_.Up();
  // With no history: it has been shown.
  AwaitCalls("AttachConsole guests/web1/consoles/con1 0", 1);
  ASSERT_EQ(write(master, "ls\r\x1d", 4), 4);
  session.join();
  EXPECT_TRUE(status.ok()) << status;
  termios after = {};
  ASSERT_EQ(tcgetattr(slave, &after), 0);
  EXPECT_EQ(before.c_lflag, after.c_lflag);
  EXPECT_EQ(notes_.back(), "note: detached");
}

}  // namespace
}  // namespace umld::umlctl
