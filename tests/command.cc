#include "tests/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace umld::tests {
namespace {

// Those that Running reaps itself.
std::set<pid_t>& OwnChildren() {
  static auto* const children = new std::set<pid_t>;
  return *children;
}

[[noreturn]] void Die(const std::string& what, int error_number) {
  std::fprintf(stderr, "the test cannot go on: %s: %s\n", what.c_str(), std::strerror(error_number));
  std::abort();
}

void Check(int error_number, const char* what) {
  if (error_number != 0) Die(what, error_number);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct Pipe {
  UniqueFd read, write;
};

Pipe MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) Die("pipe", errno);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void MakeNonBlocking(const UniqueFd& fd) { fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

// A session of its own, so that nothing typed at the test's terminal reaches it, and default signals.
pid_t Spawn(const Command& command, const std::function<void(posix_spawn_file_actions_t*)>& files) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  Check(posix_spawn_file_actions_addchdir_np(&actions, command.folder.c_str()), "addchdir");
  files(&actions);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, command.argv[0].c_str(), &actions, &attributes, Pointers(command.argv).data(),
                                 Pointers(command.environment).data());
  if (error != 0) Die(absl::StrCat("start ", command.argv[0], " in ", command.folder), error);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  OwnChildren().insert(pid);
  return pid;
}

}  // namespace

bool WaitFor(const std::function<bool()>& holds, absl::Duration patience) {
  const absl::Time give_up = absl::Now() + patience;
  while (!holds()) {
    if (absl::Now() > give_up) return false;
    ReapOrphans();
    absl::SleepFor(absl::Milliseconds(20));
  }
  return true;
}

std::ostream& operator<<(std::ostream& out, const CommandResult& result) {
  return out << "exit code " << result.exit_code << "\n--- stdout\n" << result.out << "--- stderr\n" << result.err;
}

std::unique_ptr<Running> Running::Start(const Command& command, On on) {
  std::unique_ptr<Running> running(new Running);
  running->terminal_ = on == On::kTerminal;
  if (on == On::kTerminal) {
    UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    std::array<char, 64> name;
    if (grantpt(master.get()) != 0 || unlockpt(master.get()) != 0 ||
        ptsname_r(master.get(), name.data(), name.size()) != 0) {
      Die("open a terminal", errno);
    }
    const winsize size = {24, 80, 0, 0};
    ioctl(master.get(), TIOCSWINSZ, &size);
    running->pid_ = Spawn(command, [&](posix_spawn_file_actions_t* files) {
      // Opened by a session leader that has none, it becomes the controlling terminal.
      Check(posix_spawn_file_actions_addopen(files, 0, name.data(), O_RDWR, 0), "addopen");
      Check(posix_spawn_file_actions_adddup2(files, 0, 1), "adddup2");
      Check(posix_spawn_file_actions_adddup2(files, 0, 2), "adddup2");
    });
    running->out_fd_ = std::move(master);
  } else {
    Pipe in = MakePipe(), out = MakePipe(), err = MakePipe();
    const bool logs = !command.log_file.empty();
    UniqueFd log(logs ? open(command.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1);
    if (logs && !log.ok()) Die("open " + command.log_file, errno);
    running->pid_ = Spawn(command, [&](posix_spawn_file_actions_t* files) {
      Check(posix_spawn_file_actions_adddup2(files, in.read.get(), 0), "adddup2");
      Check(posix_spawn_file_actions_adddup2(files, logs ? log.get() : out.write.get(), 1), "adddup2");
      Check(posix_spawn_file_actions_adddup2(files, logs ? log.get() : err.write.get(), 2), "adddup2");
    });
    running->in_ = std::move(in.write);
    running->out_fd_ = std::move(out.read);
    running->err_fd_ = std::move(err.read);
    MakeNonBlocking(running->in_);
    MakeNonBlocking(running->err_fd_);
  }
  MakeNonBlocking(running->out_fd_);
  return running;
}

Running::~Running() {
  if (!exit_code_.has_value()) {
    Signal(SIGKILL);
    while (!exit_code_.has_value()) {
      Reap();
      if (!exit_code_.has_value()) absl::SleepFor(absl::Milliseconds(1));
    }
  }
}

void Running::Resize(int rows, int columns) {
  const winsize size = {static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0};
  if (ioctl(out_fd_.get(), TIOCSWINSZ, &size) != 0) Die("set the size of a terminal", errno);
}

void Running::Signal(int number) {
  // Not reaped before exit_code_ is known, so the pid is still this child's.
  if (!exit_code_.has_value()) kill(pid_, number);
}

void Running::Reap() {
  int status = 0;
  if (exit_code_.has_value() || waitpid(pid_, &status, WNOHANG) != pid_) return;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  OwnChildren().erase(pid_);
}

void Running::Drain(UniqueFd& fd, std::string& to) {
  std::array<char, 65536> buffer;
  while (fd.ok()) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    // A terminal whose other side is closed says EIO; it may be opened again, but not by our programs.
    if (got <= 0) return fd.reset();
    to.append(buffer.data(), static_cast<size_t>(got));
  }
}

void Running::Pump() {
  const int input_fd = terminal_ ? out_fd_.get() : in_.get();
  const bool writes = !input_.empty() && input_fd >= 0;
  pollfd fds[] = {{out_fd_.get(), POLLIN, 0}, {err_fd_.get(), POLLIN, 0}, {writes ? input_fd : -1, POLLOUT, 0}};
  poll(fds, 3, 20);
  if (writes) {
    const ssize_t written = write(input_fd, input_.data(), input_.size());
    if (written > 0) input_.erase(0, static_cast<size_t>(written));
    if (written < 0 && errno != EAGAIN && errno != EINTR) input_.clear();
  }
  if (input_.empty() && close_input_) in_.reset();
  Drain(out_fd_, out_);
  Drain(err_fd_, err_);
  Reap();
}

bool Running::ReadUntil(const std::function<bool(const std::string&)>& enough, absl::Duration patience) {
  const absl::Time give_up = absl::Now() + patience;
  while (true) {
    // Before the look, so that what an ended program wrote last is seen.
    const bool ended = exit_code_.has_value();
    Pump();
    if (enough(out_)) return true;
    if (ended || absl::Now() > give_up) return false;
  }
}

bool Running::ReadUntil(const std::string& text, absl::Duration patience) {
  return ReadUntil([&](const std::string& out) { return absl::StrContains(out, text); }, patience);
}

std::optional<int> Running::Wait(absl::Duration patience) {
  const absl::Time give_up = absl::Now() + patience;
  do {
    Pump();
  } while (!exit_code_.has_value() && absl::Now() < give_up);
  if (exit_code_.has_value()) Pump();
  return exit_code_;
}

CommandResult RunToEnd(const Command& command, const std::string& input, absl::Duration patience) {
  std::unique_ptr<Running> running = Running::Start(command, Running::On::kPipes);
  running->Write(input);
  running->CloseInput();
  if (!running->Wait(patience).has_value()) {
    running->Signal(SIGKILL);
    running->Wait();
  }
  return {running->Wait().value_or(-1), running->out(), running->err()};
}

void AdoptOrphans() {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) Die("become a subreaper", errno);
}

std::vector<pid_t> ReapOrphans() {
  std::vector<pid_t> alive;
  std::error_code ignored;
  // All threads' children: whoever's child an orphan was, it is the first living thread's now.
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::ifstream children(task.path() / "children");
    pid_t pid = 0;
    while (children >> pid) {
      if (OwnChildren().count(pid) > 0) continue;
      if (waitpid(pid, nullptr, WNOHANG | __WALL) != pid) alive.push_back(pid);
    }
  }
  return alive;
}

}  // namespace umld::tests
