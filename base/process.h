#ifndef UMLD_BASE_PROCESS_H_
#define UMLD_BASE_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// A process of this host beyond doubt: pids are used again, (pid, start time) within one boot is not.
struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // /proc/PID/stat, field 22
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

// kNotFound: there is none.
absl::StatusOr<ProcessIdentity> IdentifyProcess(pid_t pid);
// True while that very process exists and is not a zombie.
bool IsAlive(const ProcessIdentity& process);
// A pidfd of that very process. kNotFound: it is gone.
absl::StatusOr<UniqueFd> OpenProcess(const ProcessIdentity& process);
// Waits until the process behind `pidfd` is gone; false: still there after `timeout`.
bool WaitForExit(int pidfd, std::chrono::milliseconds timeout);

// As `ps` shows it: 'R' runs or could, 'D' waits for a disk, 'S' sleeps, 'Z' is dead; '?': there is none.
char StateOf(pid_t pid);

// The children of all of a process's threads. Those that can be told: it may end meanwhile, and have more.
std::vector<pid_t> ChildrenOf(pid_t pid);

// /proc/sys/kernel/random/boot_id, without the newline; empty when it cannot be read.
std::string ReadBootId();

// argv or envp as the exec family wants it. Points into `strings`, which must outlive it and stay as it is.
std::vector<char*> ExecPointers(const std::vector<std::string>& strings);

// A program started by posix_spawn (never fork: callers have threads).
struct SpawnOptions {
  std::vector<std::string> argv;         // argv[0]: a path, or a name looked up in PATH
  std::vector<std::string> environment;  // exactly this; empty: none but PATH
  std::vector<std::pair<int, int>> fds;  // {child's number, ours}; 0-2 default to /dev/null; all others are closed
  bool new_session = false;
};
struct Child {
  pid_t pid = 0;
  UniqueFd pidfd;
};
absl::StatusOr<Child> Spawn(const SpawnOptions& options);

struct CommandResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string output;  // stdout and stderr as they came, at most 64 KiB
};
// Runs a command to its end; kills it after `timeout` (kDeadlineExceeded). Blocks.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv, std::chrono::milliseconds timeout);

}  // namespace umld

#endif  // UMLD_BASE_PROCESS_H_
