#include "kernel/kernel_idle.h"

#include <sys/syscall.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace umld::kernel {

bool IsIdle(const ProcessIdentity& kernel) {
  if (kernel.pid <= 0) return false;
  // While a process of the guest runs, the kernel waits for it (wait4); its idle loop waits for a signal
  // (os_idle_sleep in arch/um/os-Linux/time.c).
  const absl::StatusOr<std::string> text = ReadFile(absl::StrCat("/proc/", kernel.pid, "/syscall"), 1000);
  if (!text.ok() || !absl::StartsWith(*text, absl::StrCat(SYS_rt_sigsuspend, " ")) || !IsAlive(kernel)) return false;
  // One of them does what its disks are asked for.
  const std::vector<pid_t> children = ChildrenOf(kernel.pid);
  return std::none_of(children.begin(), children.end(), [](pid_t child) {
    const char state = StateOf(child);
    return state == 'R' || state == 'D';
  });
}

}  // namespace umld::kernel
