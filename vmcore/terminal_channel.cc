#include "vmcore/terminal_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

constexpr uint16_t kRows = 24, kColumns = 80;
constexpr size_t kReadBytes = 4096;

absl::Status NoTerminal(const std::string& path) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is no terminal"),
                   {"NO_TERMINAL", "", "name a terminal device: tty:/dev/tty6, tty:/dev/ttyS0"});
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChannelBackend>> TerminalChannel::OpenPts(EventLoop* loop, Console* console,
                                                                         std::string name) {
  std::unique_ptr<TerminalChannel> channel(new TerminalChannel(loop, console));
  ASSIGN_OR_RETURN(channel->pts_, devices::ConsolePty::Open(kRows, kColumns));
  channel->reported_ = absl::StrCat(name, ":", channel->pts_->slave_path());
  channel->Begin(channel->pts_->master(), true, true);
  return channel;
}

absl::StatusOr<std::unique_ptr<ChannelBackend>> TerminalChannel::OpenTty(EventLoop* loop, Console* console,
                                                                         const std::string& path, bool input,
                                                                         bool output) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return ErrnoError(errno, path);
  // Not opened to find out: to open a FIFO or a device that is no terminal may do something.
  if (!S_ISCHR(status.st_mode)) return NoTerminal(path);
  std::unique_ptr<TerminalChannel> channel(new TerminalChannel(loop, console));
  const int mode = input && output ? O_RDWR : input ? O_RDONLY : O_WRONLY;
  channel->tty_.reset(open(path.c_str(), mode | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!channel->tty_.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  if (tcgetattr(channel->tty_.get(), &channel->before_) != 0) {
    channel->tty_.reset();
    return NoTerminal(path);
  }
  termios raw = channel->before_;
  cfmakeraw(&raw);
  if (tcsetattr(channel->tty_.get(), TCSANOW, &raw) != 0) return ErrnoError(errno, absl::StrCat("set up ", path));
  channel->reported_ = absl::StrCat("tty:", path);
  channel->Begin(channel->tty_.get(), input, output);
  return channel;
}

void TerminalChannel::Begin(int fd, bool input, bool output) {
  fd_ = fd;
  events_ = input ? uint32_t{EPOLLIN} : 0;
  loop_->Watch(fd_, events_, [this](uint32_t events) { OnReady(events); });
  if (!output) return;
  viewer_ = console_->AttachTerminal(this);
  console_->Writable(viewer_);
}

TerminalChannel::~TerminalChannel() {
  if (viewer_ != 0) console_->Detach(viewer_);
  if (fd_ >= 0) loop_->Unwatch(fd_);
  if (tty_.ok()) tcsetattr(tty_.get(), TCSANOW, &before_);
}

void TerminalChannel::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0 && Flush()) {
    loop_->SetEvents(fd_, events_);
    console_->Writable(viewer_);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  char buffer[kReadBytes];
  const ssize_t got = read(fd_, buffer, sizeof(buffer));
  if (got > 0) return console_->ReceiveFromTerminal(absl::string_view(buffer, static_cast<size_t>(got)));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // Hung up (a pts whose program has left, a modem line): it does not come back by itself, so do not spin on it.
  Log(absl::StrCat(console_->name(), ": ", reported_, " was hung up"));
  reported_ += " (hung up)";
  loop_->Unwatch(std::exchange(fd_, -1));
}

bool TerminalChannel::TrySend(const v1::ConsoleData& data) {
  if (!pending_.empty()) return false;
  if (fd_ < 0) return true;
  pending_ = data.data();
  if (!Flush()) loop_->SetEvents(fd_, events_ | EPOLLOUT);
  return true;
}

// True: nothing is left to be written.
bool TerminalChannel::Flush() {
  while (!pending_.empty()) {
    const ssize_t written = write(fd_, pending_.data(), pending_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return false;
    if (written <= 0) {
      pending_.clear();  // hung up: see OnReady
      return true;
    }
    pending_.erase(0, static_cast<size_t>(written));
  }
  return true;
}

}  // namespace umld::vmcore
