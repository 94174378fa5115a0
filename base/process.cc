#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace umld {
namespace {

// State letter and start time of a process; the name in /proc/PID/stat may contain anything, so fields are counted
// from the last ')'.
struct ProcStat {
  char state = '?';
  uint64_t start_ticks = 0;
};

absl::StatusOr<ProcStat> ReadProcStat(pid_t pid) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(absl::StrCat("/proc/", pid, "/stat"), 4096));
  size_t close = text.rfind(')');
  if (close == std::string::npos) return absl::InternalError("unreadable /proc/PID/stat");
  std::vector<std::string> fields = absl::StrSplit(text.substr(close + 1), ' ', absl::SkipEmpty());
  ProcStat stat;
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &stat.start_ticks)) {
    return absl::InternalError("unreadable /proc/PID/stat");
  }
  stat.state = fields[0][0];
  return stat;
}

int PidfdOpen(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace

absl::StatusOr<ProcessIdentity> IdentifyProcess(pid_t pid) {
  ASSIGN_OR_RETURN(ProcStat stat, ReadProcStat(pid));
  return ProcessIdentity{pid, stat.start_ticks};
}

bool IsAlive(const ProcessIdentity& process) {
  if (process.pid <= 0) return false;
  absl::StatusOr<ProcStat> stat = ReadProcStat(process.pid);
  return stat.ok() && stat->start_ticks == process.start_ticks && stat->state != 'Z' && stat->state != 'X';
}

char StateOf(pid_t pid) {
  const absl::StatusOr<ProcStat> stat = ReadProcStat(pid);
  return stat.ok() ? stat->state : '?';
}

absl::StatusOr<UniqueFd> OpenProcess(const ProcessIdentity& process) {
  if (process.pid <= 0) return absl::NotFoundError("no such process");
  UniqueFd pidfd(PidfdOpen(process.pid));
  // The identity is read after the pidfd is open: from then on the pid cannot have become another process.
  if (!pidfd.ok() || !IsAlive(process)) return absl::NotFoundError(absl::StrCat("process ", process.pid, " is gone"));
  return pidfd;
}

bool WaitForExit(int pidfd, std::chrono::milliseconds timeout) {
  pollfd poll_fd = {pidfd, POLLIN, 0};
  int result;
  do {
    result = poll(&poll_fd, 1, static_cast<int>(timeout.count()));
  } while (result < 0 && errno == EINTR);
  return result > 0;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  constexpr size_t kMost = 1 << 20;
  std::vector<pid_t> children;
  std::error_code gone;
  std::filesystem::directory_iterator task(absl::StrCat("/proc/", pid, "/task"), gone);
  for (; !gone && task != std::filesystem::directory_iterator(); task.increment(gone)) {
    const absl::StatusOr<std::string> text = ReadFile(task->path().string() + "/children", kMost);
    if (!text.ok()) continue;
    for (absl::string_view word : absl::StrSplit(*text, ' ', absl::SkipWhitespace())) {
      pid_t child = 0;
      if (absl::SimpleAtoi(word, &child)) children.push_back(child);
    }
  }
  return children;
}

std::string ReadBootId() {
  absl::StatusOr<std::string> text = ReadFile("/proc/sys/kernel/random/boot_id", 100);
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

std::vector<char*> ExecPointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::StatusOr<Child> Spawn(const SpawnOptions& options) {
  // Sources are first lifted above every target, so that one dup2 cannot overwrite what a later one needs.
  int highest = 2;
  for (const auto& [target, source] : options.fds) highest = std::max(highest, target);
  std::vector<std::pair<int, UniqueFd>> lifted;
  for (const auto& [target, source] : options.fds) {
    UniqueFd copy(fcntl(source, F_DUPFD_CLOEXEC, highest + 1));
    if (!copy.ok()) return ErrnoError(errno, "duplicate a file descriptor");
    lifted.emplace_back(target, std::move(copy));
  }

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd <= 2; ++fd) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  for (const auto& [target, copy] : lifted) posix_spawn_file_actions_adddup2(&actions, copy.get(), target);
  posix_spawn_file_actions_addclosefrom_np(&actions, highest + 1);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  int16_t flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&attributes, flags);

  std::vector<std::string> environment = options.environment;
  if (environment.empty()) environment.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  std::vector<char*> argv = ExecPointers(options.argv), envp = ExecPointers(environment);
  pid_t pid = 0;
  int error = posix_spawnp(&pid, options.argv[0].c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoError(error, absl::StrCat("run ", options.argv[0]));
  // Our own child, not yet waited for: the pid cannot have become another process.
  UniqueFd pidfd(PidfdOpen(pid));
  if (!pidfd.ok()) return ErrnoError(errno, "pidfd_open");
  return Child{pid, std::move(pidfd)};
}

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv, std::chrono::milliseconds timeout) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  SpawnOptions options;
  options.argv = argv;
  options.fds = {{1, writer.get()}, {2, writer.get()}};
  ASSIGN_OR_RETURN(Child child, Spawn(options));
  writer.reset();

  CommandResult result;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  bool timed_out = false;
  while (true) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd poll_fd = {reader.get(), POLLIN, 0};
    int ready = left.count() <= 0 ? 0 : poll(&poll_fd, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      timed_out = true;
      kill(child.pid, SIGKILL);
      break;
    }
    char buffer[4096];
    ssize_t got = read(reader.get(), buffer, sizeof(buffer));
    if (got <= 0) break;
    if (result.output.size() < 64 * 1024) result.output.append(buffer, static_cast<size_t>(got));
  }
  if (!timed_out && !WaitForExit(child.pidfd.get(), std::max(std::chrono::milliseconds(0),
                                                             std::chrono::ceil<std::chrono::milliseconds>(
                                                                 deadline - std::chrono::steady_clock::now())))) {
    timed_out = true;
    kill(child.pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (timed_out) {
    return MakeError(absl::StatusCode::kDeadlineExceeded,
                     absl::StrCat(argv[0], " did not end within ", timeout.count(), " ms"),
                     {"COMMAND_TIMED_OUT", argv[0], ""});
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace umld
