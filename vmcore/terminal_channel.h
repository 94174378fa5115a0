#ifndef UMLD_VMCORE_TERMINAL_CHANNEL_H_
#define UMLD_VMCORE_TERMINAL_CHANNEL_H_

#include <termios.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "devices/console/console_pty.h"
#include "vmcore/channel_backend.h"
#include "vmcore/console.h"

namespace umld::vmcore {

// A terminal of the host on a console: a pts made for it, which any terminal program can open, or one that is there.
// What is typed on it goes in whoever else writes; what nobody reads there waits, as far as the console's history goes
// back. Thread: the loop's. Never blocks.
class TerminalChannel : public ChannelBackend, public ViewerLink {
 public:
  // `name` is "pts" or "pty", for reported(). Errors as ConsolePty::Open.
  static absl::StatusOr<std::unique_ptr<ChannelBackend>> OpenPts(EventLoop* loop, Console* console, std::string name);
  // `path` must be a terminal; it is set to raw mode, and back when this ends. kNotFound, kInvalidArgument,
  // kPermissionDenied.
  static absl::StatusOr<std::unique_ptr<ChannelBackend>> OpenTty(EventLoop* loop, Console* console,
                                                                 const std::string& path, bool input, bool output);
  ~TerminalChannel() override;
  TerminalChannel(const TerminalChannel&) = delete;
  TerminalChannel& operator=(const TerminalChannel&) = delete;

  std::string reported() const override { return reported_; }
  bool TrySend(const v1::ConsoleData& data) override;

 private:
  TerminalChannel(EventLoop* loop, Console* console) : loop_(loop), console_(console) {}

  void Begin(int fd, bool input, bool output);
  void OnReady(uint32_t events);
  bool Flush();

  EventLoop* loop_;
  Console* console_;
  std::unique_ptr<devices::ConsolePty> pts_;  // of a pts
  UniqueFd tty_;                              // of a terminal that was there, and how it was
  termios before_ = {};
  int fd_ = -1;  // the one of the two that bytes go through
  uint32_t events_ = 0;
  Console::ViewerId viewer_ = 0;  // 0: no output
  std::string pending_;           // what the terminal did not take yet
  std::string reported_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_TERMINAL_CHANNEL_H_
