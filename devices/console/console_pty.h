#ifndef UMLD_DEVICES_CONSOLE_CONSOLE_PTY_H_
#define UMLD_DEVICES_CONSOLE_CONSOLE_PTY_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld::devices {

// The host's side of one UML console: a pseudo terminal whose slave goes to the kernel as `conN=fd:K`. The slave stays
// open here too, so that a kernel that ends or reopens its console neither hangs up the master nor loses the size.
// Thread: its owner's. Never blocks.
class ConsolePty {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxQueuedInput = size_t{1} << 20;

  // Raw mode, close-on-exec both ends, non-blocking master. Errors as ErrnoError.
  static absl::StatusOr<std::unique_ptr<ConsolePty>> Open(uint16_t rows, uint16_t columns);

  int master() const { return master_.get(); }
  // To be passed to the kernel (dup2 it: it is close-on-exec).
  int slave() const { return slave_.get(); }
  const std::string& slave_path() const { return slave_path_; }  // "/dev/pts/7"; for people only

  // The kernel gets SIGWINCH. Errors as ErrnoError.
  absl::Status SetWindowSize(uint16_t rows, uint16_t columns);

  // What the guest has printed, at most `size` bytes; 0: nothing there now. Errors as ErrnoError.
  absl::StatusOr<size_t> ReadOutput(char* buffer, size_t size);

  // Queues what was typed, all of it or nothing. Call PumpInput afterwards. kResourceExhausted: the guest does not
  // read, and more than kMaxQueuedInput would wait.
  absl::Status Enqueue(absl::string_view bytes);
  size_t queued_bytes() const { return queue_.size() - queue_begin_; }
  // Something waits, or was handed to the guest and was not seen to be taken.
  bool has_input() const { return queued_bytes() > 0 || written_; }
  // The guest had not taken the last piece when PumpInput looked.
  bool input_stalled() const { return has_input() && patience_ > kPause; }
  // Forgets what waits, for example when the kernel has ended.
  void DropInput();

  // Hands the guest the next piece. Some 4 KB that its kernel has taken and no process of it has read kill a UML
  // console's input for good, so it is 1 KiB at most, 20 ms after the one before, when the kernel has taken that and
  // the guest has been at rest since, which `at_rest` tells of this moment; a guest that always has something to do
  // gets one a second.
  // Returns when to call again; nullopt: no timer is needed. A guest that does not take it is asked less and less
  // often, down to once a second; for its last piece only some ten seconds long, for there may be nobody inside who
  // ever opens that console. From then on it is to be called when the guest prints.
  std::optional<std::chrono::milliseconds> PumpInput(Clock::time_point now, const std::function<bool()>& at_rest);

 private:
  static constexpr std::chrono::milliseconds kPause{20};
  static constexpr std::chrono::milliseconds kTurn{1000};  // within which a process of a busy guest runs

  ConsolePty(UniqueFd master, UniqueFd slave, std::string slave_path)
      : master_(std::move(master)), slave_(std::move(slave)), slave_path_(std::move(slave_path)) {}

  UniqueFd master_;
  UniqueFd slave_;
  std::string slave_path_;
  std::string queue_;
  size_t queue_begin_ = 0;  // what is before it has been written
  size_t in_flight_ = 0;    // written since the guest was last known to have had time for it
  Clock::time_point last_write_{};
  Clock::time_point next_write_{};
  std::chrono::milliseconds patience_{0};  // the pause before a guest that does not read is asked again
  bool written_ = false;                   // the last piece was not yet seen to be taken
  int looks_ = 0;                          // at the last piece of all, in vain
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_CONSOLE_PTY_H_
