#include "devices/console/console_pty.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

constexpr size_t kPieceBytes = 1024;
constexpr std::chrono::milliseconds kLongestPause{1000};
constexpr int kLooks = 16;  // some ten seconds

absl::Status SetRaw(int slave) {
  termios settings = {};
  if (tcgetattr(slave, &settings) != 0) return ErrnoError(errno, "read the settings of a pty");
  cfmakeraw(&settings);
  if (tcsetattr(slave, TCSANOW, &settings) != 0) return ErrnoError(errno, "set a pty to raw mode");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConsolePty>> ConsolePty::Open(uint16_t rows, uint16_t columns) {
  UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!master.ok()) return ErrnoError(errno, "open a pty");
  char name[64] = {};
  if (unlockpt(master.get()) != 0 || ptsname_r(master.get(), name, sizeof(name)) != 0) {
    return ErrnoError(errno, "unlock a pty");
  }
  // By the master and not by its name, which another mount of /dev/pts may give to another pty.
  UniqueFd slave(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.ok()) return ErrnoError(errno, absl::StrCat("open ", name));
  RETURN_IF_ERROR(SetRaw(slave.get()));
  std::unique_ptr<ConsolePty> pty(new ConsolePty(std::move(master), std::move(slave), name));
  RETURN_IF_ERROR(pty->SetWindowSize(rows, columns));
  return pty;
}

absl::Status ConsolePty::SetWindowSize(uint16_t rows, uint16_t columns) {
  winsize size = {};
  size.ws_row = rows;
  size.ws_col = columns;
  if (ioctl(master_.get(), TIOCSWINSZ, &size) != 0) {
    return ErrnoError(errno, absl::StrCat("set the size of ", slave_path_));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ConsolePty::ReadOutput(char* buffer, size_t size) {
  while (true) {
    ssize_t n = read(master_.get(), buffer, size);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) return ErrnoError(errno, absl::StrCat("read from ", slave_path_));
  }
}

absl::Status ConsolePty::Enqueue(absl::string_view bytes) {
  if (bytes.size() > kMaxQueuedInput - queued_bytes()) {
    return MakeError(absl::StatusCode::kResourceExhausted,
                     absl::StrCat("the guest does not read its console, and ", queued_bytes(), " bytes wait already"),
                     {"CONSOLE_INPUT_FULL", "", "try again when the guest reads, or send less at once"});
  }
  if (queued_bytes() == 0) {
    queue_.clear();
    queue_begin_ = 0;
  }
  looks_ = 0;
  queue_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

void ConsolePty::DropInput() {
  queue_.clear();
  queue_.shrink_to_fit();
  queue_begin_ = 0;
  written_ = false;
  patience_ = kPause;
}

std::optional<std::chrono::milliseconds> ConsolePty::PumpInput(Clock::time_point now,
                                                               const std::function<bool()>& at_rest) {
  using std::chrono::milliseconds;
  if (!has_input()) return std::nullopt;
  if (now < next_write_) return std::chrono::ceil<milliseconds>(next_write_ - now);

  // Unlike FIONREAD, poll() waits for the worker of the host's kernel that carries bytes from one end to the other.
  pollfd unread = {slave_.get(), POLLIN, 0};
  const bool taken = poll(&unread, 1, 0) == 0;
  if (taken && queued_bytes() == 0) {
    DropInput();
    return std::nullopt;
  }
  ssize_t written = 0;
  if (taken) {
    const bool has_room = in_flight_ + queued_bytes() <= kPieceBytes;
    if (now >= last_write_ + kTurn || (!has_room && at_rest())) in_flight_ = 0;
    if (in_flight_ >= kPieceBytes) {
      next_write_ = now + kPause;
      return kPause;
    }
    written = write(master_.get(), queue_.data() + queue_begin_, std::min(queued_bytes(), kPieceBytes - in_flight_));
  }
  if (written <= 0) {
    patience_ = std::clamp(patience_ * 2, kPause, kLongestPause);
    next_write_ = now + patience_;
    if (queued_bytes() == 0 && ++looks_ >= kLooks) return std::nullopt;
    return patience_;
  }
  written_ = true;
  in_flight_ += static_cast<size_t>(written);
  last_write_ = now;
  patience_ = kPause / 2;
  looks_ = 0;
  next_write_ = now + kPause;
  queue_begin_ += static_cast<size_t>(written);
  // A long paste gives its memory back as it goes, without moving it for every piece.
  if (queue_begin_ > 64 * kPieceBytes && queue_begin_ > queue_.size() / 2) {
    queue_.erase(0, queue_begin_);
    queue_begin_ = 0;
  }
  return kPause;
}

}  // namespace umld::devices
