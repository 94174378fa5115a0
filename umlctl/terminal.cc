#include "umlctl/terminal.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/status.h"

namespace umld::umlctl {
namespace {

constexpr int kCaught[] = {SIGWINCH, SIGTERM, SIGHUP};

std::atomic<int> signal_event{-1};
std::atomic<bool> signal_quit{false};

void OnSignal(int number) {
  const int saved_errno = errno;
  if (number != SIGWINCH) signal_quit = true;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then it is readable already.
  [[maybe_unused]] const ssize_t written = write(signal_event, &one, sizeof(one));
  errno = saved_errno;
}

}  // namespace

absl::StatusOr<RawMode> RawMode::Enter(int fd) {
  termios saved = {};
  if (tcgetattr(fd, &saved) != 0) return ErrnoError(errno, "read the terminal's settings");
  termios raw = saved;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSANOW, &raw) != 0) return ErrnoError(errno, "set the terminal to raw mode");
  return RawMode(fd, saved);
}

RawMode::RawMode(RawMode&& other) noexcept : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}

RawMode::~RawMode() {
  if (fd_ >= 0) tcsetattr(fd_, TCSADRAIN, &saved_);
}

TerminalSize GetTerminalSize(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_row, size.ws_col};
}

absl::StatusOr<TerminalSignals> TerminalSignals::Catch() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.ok()) return ErrnoError(errno, "make an eventfd");
  signal_event = event.get();
  signal_quit = false;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (int number : kCaught) sigaction(number, &action, nullptr);
  return TerminalSignals(std::move(event));
}

TerminalSignals::~TerminalSignals() {
  if (!event_.ok()) return;
  for (int number : kCaught) std::signal(number, SIG_DFL);
  signal_event = -1;
}

void TerminalSignals::Drain() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_.get(), &count, sizeof(count));
}

bool TerminalSignals::quit() const { return signal_quit; }

}  // namespace umld::umlctl
