#include "devices/console/console_pty.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <thread>

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using std::chrono::milliseconds;

// As in a guest that has nothing to do.
std::optional<milliseconds> PumpAtRest(ConsolePty& pty, ConsolePty::Clock::time_point now) {
  return pty.PumpInput(now, [] { return true; });
}

int Unread(const ConsolePty& pty) {
  int unread = -1;
  EXPECT_EQ(ioctl(pty.slave(), FIONREAD, &unread), 0);
  return unread;
}

// The pty's two ends are joined by a worker in the host's kernel: what was written is there a moment later.
void WaitUntilReadable(int fd) {
  pollfd ready = {fd, POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 5000), 1);
}

std::string ReadSome(int fd, size_t size) {
  std::string bytes(size, '\0');
  ssize_t n = read(fd, bytes.data(), size);
  bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return bytes;
}

TEST(ConsolePty, OpensRawWithItsSize) {
  auto pty = *ConsolePty::Open(24, 80);
  winsize size = {};
  ASSERT_EQ(ioctl(pty->slave(), TIOCGWINSZ, &size), 0);
  EXPECT_EQ(size.ws_row, 24);
  EXPECT_EQ(size.ws_col, 80);
  ASSERT_TRUE(pty->SetWindowSize(50, 132).ok());
  ASSERT_EQ(ioctl(pty->slave(), TIOCGWINSZ, &size), 0);
  EXPECT_EQ(size.ws_row, 50);
  EXPECT_EQ(size.ws_col, 132);
  termios settings = {};
  ASSERT_EQ(tcgetattr(pty->slave(), &settings), 0);
  EXPECT_EQ(settings.c_lflag & (ICANON | ECHO | ISIG), 0u);
  EXPECT_EQ(settings.c_oflag & OPOST, 0u);
  for (int fd : {pty->master(), pty->slave()}) EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_NE(fcntl(pty->master(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(fcntl(pty->slave(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(pty->slave_path().substr(0, 9), "/dev/pts/");
}

TEST(ConsolePty, ReadsWhatTheGuestPrints) {
  auto pty = *ConsolePty::Open(24, 80);
  char buffer[100];
  EXPECT_EQ(*pty->ReadOutput(buffer, sizeof(buffer)), 0u);
  ASSERT_EQ(write(pty->slave(), "hello\n", 6), 6);
  WaitUntilReadable(pty->master());
  EXPECT_EQ(std::string(buffer, *pty->ReadOutput(buffer, sizeof(buffer))), "hello\n");
}

TEST(ConsolePty, NothingQueuedNeedsNoTimer) {
  auto pty = *ConsolePty::Open(24, 80);
  ConsolePty::Clock::time_point now{};
  EXPECT_EQ(PumpAtRest(*pty, now), std::nullopt);
  ASSERT_TRUE(pty->Enqueue("x").ok());
  EXPECT_EQ(PumpAtRest(*pty, now), milliseconds(20));
  EXPECT_EQ(pty->queued_bytes(), 0u);
  WaitUntilReadable(pty->slave());
  EXPECT_EQ(ReadSome(pty->slave(), 10), "x");
  EXPECT_TRUE(pty->has_input());
  EXPECT_EQ(PumpAtRest(*pty, now + milliseconds(20)), std::nullopt);
  EXPECT_FALSE(pty->has_input());
}

TEST(ConsolePty, TheLastPieceIsWatchedForAWhile) {
  auto pty = *ConsolePty::Open(24, 80);
  ConsolePty::Clock::time_point now{};
  ASSERT_TRUE(pty->Enqueue("x").ok());
  auto pause = PumpAtRest(*pty, now);
  WaitUntilReadable(pty->slave());
  bool stalled = false;
  while (pause.has_value() && now < ConsolePty::Clock::time_point() + std::chrono::minutes(1)) {
    now += *pause;
    pause = PumpAtRest(*pty, now);
    stalled |= pty->input_stalled();
  }
  EXPECT_TRUE(stalled);
  EXPECT_EQ(pause, std::nullopt);
  EXPECT_GT(now.time_since_epoch(), std::chrono::seconds(5));
  // Looked at once whenever the guest prints, and with the old patience when more is typed.
  EXPECT_TRUE(pty->has_input());
  now += std::chrono::minutes(1);
  EXPECT_EQ(PumpAtRest(*pty, now), std::nullopt);
  EXPECT_TRUE(pty->input_stalled());
  ASSERT_TRUE(pty->Enqueue("y").ok());
  now += std::chrono::minutes(1);
  EXPECT_EQ(PumpAtRest(*pty, now), milliseconds(1000));
  EXPECT_EQ(ReadSome(pty->slave(), 10), "x");
  now += milliseconds(1000);
  EXPECT_EQ(PumpAtRest(*pty, now), milliseconds(20));
  EXPECT_EQ(pty->queued_bytes(), 0u);
}

TEST(ConsolePty, PacesByClockAndByReader) {
  auto pty = *ConsolePty::Open(24, 80);
  ASSERT_TRUE(pty->Enqueue(std::string(3000, 'x')).ok());
  ConsolePty::Clock::time_point now{};
  EXPECT_EQ(PumpAtRest(*pty, now), milliseconds(20));
  EXPECT_EQ(pty->queued_bytes(), 3000u - 1024);
  EXPECT_EQ(PumpAtRest(*pty, now + milliseconds(5)), milliseconds(15));
  EXPECT_EQ(pty->queued_bytes(), 3000u - 1024);

  // Nobody reads: asked less and less often.
  WaitUntilReadable(pty->slave());
  now += milliseconds(20);
  milliseconds pause = *PumpAtRest(*pty, now);
  EXPECT_EQ(pause, milliseconds(20));
  for (int i = 0; i < 10; ++i) {
    now += pause;
    pause = *PumpAtRest(*pty, now);
  }
  EXPECT_EQ(pause, milliseconds(1000));
  EXPECT_EQ(pty->queued_bytes(), 3000u - 1024);
  EXPECT_EQ(Unread(*pty), 1024);

  EXPECT_EQ(ReadSome(pty->slave(), 2000).size(), 1024u);
  now += pause;
  EXPECT_EQ(PumpAtRest(*pty, now), milliseconds(20));
  EXPECT_EQ(pty->queued_bytes(), 3000u - 2048);
}

// Its kernel has taken what there was, and nobody can tell whether a process inside has read it.
TEST(ConsolePty, ABusyGuestGetsAPieceNowAndThen) {
  auto pty = *ConsolePty::Open(24, 80);
  ASSERT_TRUE(pty->Enqueue(std::string(4000, 'x')).ok());
  bool rests = false;
  const auto at_rest = [&] { return rests; };
  ConsolePty::Clock::time_point now{};
  auto look = [&] {
    now += milliseconds(20);
    EXPECT_EQ(pty->PumpInput(now, at_rest), milliseconds(20));
    return pty->queued_bytes();
  };
  auto take = [&] {
    WaitUntilReadable(pty->slave());
    return ReadSome(pty->slave(), 2000).size();
  };
  EXPECT_EQ(look(), 4000u - 1024);
  EXPECT_EQ(take(), 1024u);
  for (int i = 0; i < 49; ++i) EXPECT_EQ(look(), 4000u - 1024) << i;
  EXPECT_FALSE(pty->input_stalled());
  EXPECT_EQ(look(), 4000u - 2048) << "a turn later";
  EXPECT_EQ(take(), 1024u);
  EXPECT_EQ(look(), 4000u - 2048);
  rests = true;
  EXPECT_EQ(look(), 4000u - 3072) << "at rest";
  // Many small pieces are as much as one.
  EXPECT_EQ(take(), 1024u);
  pty->DropInput();
  rests = false;
  now += std::chrono::minutes(1);
  size_t got = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(pty->Enqueue(std::string(200, 'y')).ok());
    look();
    pollfd ready = {pty->slave(), POLLIN, 0};
    if (poll(&ready, 1, 100) == 1) got += ReadSome(pty->slave(), 2000).size();
  }
  EXPECT_EQ(got, 1024u);
  EXPECT_EQ(pty->queued_bytes(), 2000u - 1024);
}

TEST(ConsolePty, QueueIsBounded) {
  auto pty = *ConsolePty::Open(24, 80);
  ASSERT_TRUE(pty->Enqueue(std::string(ConsolePty::kMaxQueuedInput, 'x')).ok());
  absl::Status full = pty->Enqueue("y");
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(full).reason, "CONSOLE_INPUT_FULL");
  EXPECT_EQ(pty->queued_bytes(), ConsolePty::kMaxQueuedInput);
  pty->DropInput();
  EXPECT_EQ(pty->queued_bytes(), 0u);
  EXPECT_TRUE(pty->Enqueue("y").ok());
}

TEST(ConsolePty, PasteArrivesWholeAndNeverAsABurst) {
  auto pty = *ConsolePty::Open(24, 80);
  std::string paste(30 * 1024, '\0');
  unsigned seed = 1;
  for (char& c : paste) c = static_cast<char>(rand_r(&seed));
  ASSERT_TRUE(pty->Enqueue(paste).ok());

  std::string got;
  std::thread reader([&] {
    while (got.size() < paste.size()) {
      pollfd ready = {pty->slave(), POLLIN, 0};
      if (poll(&ready, 1, 5000) != 1) return;
      got += ReadSome(pty->slave(), 300);
    }
  });
  int most_unread = 0;
  while (auto pause = PumpAtRest(*pty, ConsolePty::Clock::now())) {
    most_unread = std::max(most_unread, Unread(*pty));
    std::this_thread::sleep_for(*pause);
  }
  reader.join();
  EXPECT_EQ(got, paste);
  EXPECT_LE(most_unread, 1024);
}

}  // namespace
}  // namespace umld::devices
