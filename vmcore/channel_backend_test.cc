#include "vmcore/channel_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "devices/console/console_pty.h"
#include "vmcore/console.h"

namespace umld::vmcore {
namespace {

using devices::ConsoleChannel;
using std::chrono::milliseconds;
using testing::HasSubstr;

// A port that nobody has at this moment.
uint16_t FreePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

class ChannelBackendTest : public testing::Test {
 protected:
  ChannelBackendTest() {
    folder_ = "/tmp/channel_backend_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    console_ = Console::Create(loop_.get(), {"con3", 16 * 1024, folder_ + "/con3.log", 1 << 20, &log_allowance_});
    console_->Begin(*devices::ConsolePty::Open(24, 80));
  }
  ~ChannelBackendTest() override {
    backend_.reset();
    console_.reset();
    std::filesystem::remove_all(folder_);
  }

  absl::Status Open(const ConsoleChannel& channel, bool input = true, bool output = true) {
    absl::StatusOr<std::unique_ptr<ChannelBackend>> opened =
        OpenChannel(loop_.get(), console_.get(), channel, input, output);
    if (opened.ok()) backend_ = *std::move(opened);
    return opened.status();
  }
  static ConsoleChannel Channel(ConsoleChannel::Kind kind, const std::string& path = "", uint16_t port = 0) {
    ConsoleChannel channel;
    channel.kind = kind;
    channel.path = path;
    channel.port = port;
    return channel;
  }
  void RunFor(milliseconds time) {
    loop_->RunAfter(time, [this] { loop_->Quit(); });
    loop_->Run();
  }
  // Runs the loop until `holds`, at most ten seconds.
  void RunUntil(const std::function<bool()>& holds) {
    for (int i = 0; i < 10'000 && !holds(); ++i) RunFor(milliseconds(1));
    EXPECT_TRUE(holds());
  }
  void RunUntilViewers(uint32_t count) {
    RunUntil([&] { return console_->viewers() == count; });
  }
  // As the guest's kernel would, and until the console has read it: a terminal passes bytes on when the host finds time
  // for that.
  void Print(const std::string& text) {
    const uint64_t all = console_->facts().bytes_out() + text.size();
    ASSERT_EQ(write(console_->slave(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    RunUntil([&] { return console_->facts().bytes_out() >= all; });
  }
  // Runs the loop until `fd` has said `text`.
  std::string ReadUntil(int fd, const std::string& text) {
    std::string all;
    for (int i = 0; i < 500 && all.find(text) == std::string::npos; ++i) {
      RunFor(milliseconds(10));
      char buffer[4096];
      pollfd ready = {fd, POLLIN, 0};
      if (poll(&ready, 1, 0) <= 0) continue;
      const ssize_t got = read(fd, buffer, sizeof(buffer));
      if (got <= 0) break;
      all.append(buffer, static_cast<size_t>(got));
    }
    EXPECT_THAT(all, HasSubstr(text));
    return all;
  }
  UniqueFd Connect(uint16_t port) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  static void Send(const UniqueFd& fd, const std::string& bytes) {
    EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  std::string folder_;
  TokenBucket log_allowance_{1 << 20, 1 << 20};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<ChannelBackend> backend_;
};

TEST_F(ChannelBackendTest, SomeNeedNothing) {
  for (auto kind : {ConsoleChannel::Kind::kNull, ConsoleChannel::Kind::kFd, ConsoleChannel::Kind::kXterm}) {
    EXPECT_TRUE(Open(Channel(kind)).ok());
    EXPECT_EQ(backend_, nullptr);
  }
  ConsoleChannel channel = Channel(ConsoleChannel::Kind::kFd);
  channel.fd = 7;
  EXPECT_THAT(Open(channel).message(), HasSubstr("inherits no descriptor 7"));
}

TEST_F(ChannelBackendTest, APtsIsATerminalThatAnybodyCanOpen) {
  Print("before;");
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPts)).ok());
  ASSERT_THAT(backend_->reported(), testing::StartsWith("pts:/dev/pts/"));
  UniqueFd pts(open(backend_->reported().substr(4).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(pts.ok());
  Print("after\n");
  EXPECT_EQ(ReadUntil(pts.get(), "after\n"), "after\n");
  Send(pts, "typed");
  EXPECT_EQ(ReadUntil(console_->slave(), "typed"), "typed");
  // Its program leaves, and another comes: nothing is hung up.
  pts.reset();
  Print("meanwhile;");
  pts.reset(open(backend_->reported().substr(4).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  Print("again");
  EXPECT_EQ(ReadUntil(pts.get(), "again"), "meanwhile;again");
}

TEST_F(ChannelBackendTest, ATerminalNobodyReadsLosesNothingThatTheHistoryHas) {
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPts)).ok());
  UniqueFd pts(open(backend_->reported().substr(4).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  std::string all;
  for (int i = 0; i < 15; ++i) {
    const std::string piece = absl::StrCat("piece ", i, std::string(990, '.'), "\n");
    Print(piece);
    all += piece;
  }
  Print("the end");
  EXPECT_EQ(ReadUntil(pts.get(), "the end"), all + "the end");
}

TEST_F(ChannelBackendTest, ATerminalOfTheHost) {
  auto host = *devices::ConsolePty::Open(24, 80);
  // In the mode of a terminal that a person uses.
  termios cooked = {};
  tcgetattr(host->slave(), &cooked);
  cooked.c_lflag |= ICANON | ECHO;
  tcsetattr(host->slave(), TCSANOW, &cooked);
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kTty, host->slave_path())).ok());
  EXPECT_EQ(backend_->reported(), "tty:" + host->slave_path());
  Print("to the terminal");
  EXPECT_EQ(ReadUntil(host->master(), "terminal"), "to the terminal");
  ASSERT_EQ(write(host->master(), "keys", 4), 4);
  EXPECT_EQ(ReadUntil(console_->slave(), "keys"), "keys");
  backend_.reset();
  termios now = {};
  tcgetattr(host->slave(), &now);
  EXPECT_EQ(now.c_lflag & (ICANON | ECHO), static_cast<tcflag_t>(ICANON | ECHO));
}

TEST_F(ChannelBackendTest, OneDirectionOfATerminal) {
  auto keyboard = *devices::ConsolePty::Open(24, 80);
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kTty, keyboard->slave_path()), /*input=*/true, /*output=*/false).ok());
  Print("not there");
  ASSERT_EQ(write(keyboard->master(), "keys", 4), 4);
  EXPECT_EQ(ReadUntil(console_->slave(), "keys"), "keys");
  char buffer[16];
  EXPECT_LT(read(keyboard->master(), buffer, sizeof(buffer)), 0);
}

TEST_F(ChannelBackendTest, WhatIsNoTerminalIsRefused) {
  EXPECT_EQ(Open(Channel(ConsoleChannel::Kind::kTty, folder_ + "/none")).code(), absl::StatusCode::kNotFound);
  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(Open(Channel(ConsoleChannel::Kind::kTty, fifo)).message(), HasSubstr(fifo + " is no terminal"));
  EXPECT_THAT(Open(Channel(ConsoleChannel::Kind::kTty, "/dev/null")).message(), HasSubstr("/dev/null is no terminal"));
  EXPECT_THAT(Open(Channel(ConsoleChannel::Kind::kTty, folder_)).message(), HasSubstr("is no terminal"));
}

TEST_F(ChannelBackendTest, APortTakesPlainConnections) {
  const uint16_t port = FreePort();
  Print("login: ");
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  EXPECT_EQ(backend_->reported(), absl::StrCat("port:", port));
  UniqueFd nc = Connect(port);
  EXPECT_THAT(ReadUntil(nc.get(), "login: "), testing::StartsWith("\xff\xfb\x01"));
  Send(nc, "root\n");
  EXPECT_EQ(ReadUntil(console_->slave(), "root\n"), "root\n");
  EXPECT_EQ(console_->viewers(), 1U);
  nc.reset();
  RunUntilViewers(0);
}

TEST_F(ChannelBackendTest, APortTakesTelnet) {
  const uint16_t port = FreePort();
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  UniqueFd telnet = Connect(port);
  const std::string size("\xff\xfa\x1f\0\x84\0\x28\xff\xf0", 9);
  Send(telnet, "\xff\xfd\x01\xff\xfd\x03\xff\xfb\x1f" + size + std::string("ls\r\0", 4));
  EXPECT_EQ(ReadUntil(console_->slave(), "ls\r"), "ls\r");
  winsize window = {};
  ASSERT_EQ(ioctl(console_->slave(), TIOCGWINSZ, &window), 0);
  EXPECT_EQ(window.ws_row, 40);
  EXPECT_EQ(window.ws_col, 132);
  Print("\xff!");
  EXPECT_THAT(ReadUntil(telnet.get(), "!"), HasSubstr("\xff\xff!"));
}

TEST_F(ChannelBackendTest, TheFirstConnectionWrites) {
  const uint16_t port = FreePort();
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  UniqueFd first = Connect(port);
  RunUntilViewers(1);
  UniqueFd second = Connect(port);
  RunUntilViewers(2);
  Send(second, "no");
  ReadUntil(second.get(), "input is held by another viewer");
  Send(first, "yes");
  EXPECT_EQ(ReadUntil(console_->slave(), "yes"), "yes");
  // The other end of the console.
  console_->End();
  ReadUntil(first.get(), "the console has ended");
  pollfd closed = {first.get(), POLLIN, 0};
  RunUntil([&] { return poll(&closed, 1, 0) == 1; });
  char byte = 0;
  EXPECT_EQ(read(first.get(), &byte, 1), 0);
}

TEST_F(ChannelBackendTest, NoMoreThanEightConnections) {
  const uint16_t port = FreePort();
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  std::vector<UniqueFd> clients;
  for (uint32_t i = 1; i <= 8; ++i) {
    clients.push_back(Connect(port));
    RunUntilViewers(i);
  }
  UniqueFd ninth = Connect(port);
  ReadUntil(ninth.get(), "as many connections as it takes");
  EXPECT_EQ(console_->viewers(), 8U);
}

TEST_F(ChannelBackendTest, OneThatDoesNotReadHoldsNobodyUp) {
  const uint16_t port = FreePort();
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  UniqueFd deaf = Connect(port);
  RunUntilViewers(1);
  const std::string line(1023, 'x');
  for (int i = 0; i < 3000; ++i) Print(line);
  Print("the end");
  EXPECT_THAT(console_->Tail(0, 7), "the end");
}

TEST_F(ChannelBackendTest, APortThatCannotBeHadIsNamed) {
  const uint16_t port = FreePort();
  ASSERT_TRUE(Open(Channel(ConsoleChannel::Kind::kPort, "", port)).ok());
  auto first = std::move(backend_);
  absl::Status taken = Open(Channel(ConsoleChannel::Kind::kPort, "", port));
  EXPECT_EQ(GetErrorDetail(taken).reason, "PORT_IN_USE");
  EXPECT_THAT(taken.message(), HasSubstr(absl::StrCat("port ", port, " of 127.0.0.1 is in use")));
  ConsoleChannel elsewhere = Channel(ConsoleChannel::Kind::kPort, "", port);
  elsewhere.address = "192.0.2.1";
  EXPECT_THAT(Open(elsewhere).message(), HasSubstr("192.0.2.1 is no address of this host"));
  elsewhere.address = "::1";
  EXPECT_TRUE(Open(elsewhere).ok());
  EXPECT_EQ(backend_->reported(), absl::StrCat("port:[::1]:", port));
}

}  // namespace
}  // namespace umld::vmcore
