#ifndef UMLD_VMCORE_EXIT_REASON_H_
#define UMLD_VMCORE_EXIT_REASON_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace umld::vmcore {

// All that is known of an ended kernel process; everything of it has been reaped.
struct KernelEnd {
  std::string failed_step;  // of starting it ("run /usr/bin/linux.uml"), with `failed_errno`; else empty
  int failed_errno = 0;
  std::optional<int> wait_status;  // of the kernel's main process, as from waitpid; nullopt: its init died first
  int init_wait_status = 0;
  std::string limit;  // of the host's that was exceeded ("out of memory: its limit is 256M"); else empty
  std::string
      forbidden_call;  // by the seccomp filter, for which it was killed ("unshare(0x10000000, ...)"); else empty
};

enum class EndKind { kPoweredOff, kRebooted, kCrashed };

struct ExitReason {
  EndKind kind = EndKind::kCrashed;
  std::string reason;  // one line for people
  int exit_code = 0;   // of the kernel process when it exited, else 0
  int signal = 0;      // that ended it, else 0
};

// What an end means. `came_up`: its mconsole had been reached; `panic`: the notify socket's panic text, or empty;
// `console_tail`: the end of what this kernel printed on con0, raw. Pure.
ExitReason ClassifyEnd(const KernelEnd& end, bool came_up, absl::string_view panic, absl::string_view console_tail);

// "SIGKILL"; "signal 77" when it has no name.
std::string SignalName(int signal);

// One line fit to be shown anywhere: no control characters, no escape sequences, at most 300 bytes.
std::string OneCleanLine(absl::string_view text);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_EXIT_REASON_H_
