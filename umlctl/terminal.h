#ifndef UMLD_UMLCTL_TERMINAL_H_
#define UMLD_UMLCTL_TERMINAL_H_

#include <termios.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld::umlctl {

// A terminal in raw mode: every key goes to the program as it is. Restored by the destructor.
class RawMode {
 public:
  // `fd` is a terminal and outlives the object.
  static absl::StatusOr<RawMode> Enter(int fd);
  RawMode(RawMode&& other) noexcept;
  RawMode& operator=(RawMode&&) = delete;
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  ~RawMode();

 private:
  RawMode(int fd, const termios& saved) : fd_(fd), saved_(saved) {}
  int fd_;
  termios saved_;
};

// 0 x 0 when `fd` is not a terminal.
struct TerminalSize {
  uint16_t rows = 0;
  uint16_t columns = 0;
};
TerminalSize GetTerminalSize(int fd);

// While it lives, SIGWINCH, SIGTERM and SIGHUP are counted instead of acted on, and fd() becomes readable with each.
// A handler, and not signalfd: gRPC's threads do not block these, and the kernel would hand the signal to one of them.
// Thread: one object at a time.
class TerminalSignals {
 public:
  static absl::StatusOr<TerminalSignals> Catch();
  TerminalSignals(TerminalSignals&&) = default;
  TerminalSignals& operator=(TerminalSignals&&) = delete;
  ~TerminalSignals();

  int fd() const { return event_.get(); }
  // Makes fd() quiet again.
  void Drain();
  // SIGTERM or SIGHUP came.
  bool quit() const;

 private:
  explicit TerminalSignals(UniqueFd event) : event_(std::move(event)) {}
  UniqueFd event_;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_TERMINAL_H_
