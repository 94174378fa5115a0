#include "kernel/kernel_idle.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::kernel {
namespace {

// While a process of the guest runs, the kernel waits for it (wait4); its idle loop waits for a signal
// (os_idle_sleep in arch/um/os-Linux/time.c).
absl::StatusOr<bool> IsInIdleLoop(pid_t kernel) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat("/proc/", kernel, "/syscall"), 1000));
  return absl::StartsWith(text, absl::StrCat(SYS_rt_sigsuspend, " "));
}

// The first of its children: its own helpers. Those of the guest's processes, of which there may be thousands, come
// later, and are at rest while it is in its idle loop.
absl::StatusOr<std::vector<pid_t>> HelpersOf(pid_t kernel) {
  const std::string path = absl::StrCat("/proc/", kernel, "/task/", kernel, "/children");
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[64];
  const ssize_t size = file.ok() ? read(file.get(), text, sizeof(text)) : -1;
  if (size < 0) return ErrnoError(errno, path);
  std::vector<pid_t> helpers;
  std::vector<absl::string_view> words = absl::StrSplit(absl::string_view(text, static_cast<size_t>(size)), ' ');
  words.pop_back();  // empty, or cut off
  for (absl::string_view word : words) {
    pid_t helper = 0;
    if (absl::SimpleAtoi(word, &helper)) helpers.push_back(helper);
  }
  return helpers;
}

absl::StatusOr<bool> IsAtRest(pid_t kernel) {
  ASSIGN_OR_RETURN(const bool before, IsInIdleLoop(kernel));
  if (!before) return false;
  ASSIGN_OR_RETURN(const std::vector<pid_t> helpers, HelpersOf(kernel));
  const bool working = std::any_of(helpers.begin(), helpers.end(), [](pid_t helper) {
    const char state = StateOf(helper);
    return state == 'R' || state == 'D';
  });
  if (working) return false;
  // One that has just done its work has woken the kernel.
  return IsInIdleLoop(kernel);
}

}  // namespace

absl::StatusOr<bool> IsIdle(const ProcessIdentity& kernel) {
  if (!IsAlive(kernel)) return false;
  absl::StatusOr<bool> idle = IsAtRest(kernel.pid);
  if (!idle.ok() && !IsAlive(kernel)) return false;
  return idle;
}

}  // namespace umld::kernel
