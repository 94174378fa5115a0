#include "vmcore/init_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vmcore/console_layout.h"
#include "vmcore/jail.h"
#include "vmcore/jail_controls.h"
#include "vmcore/seccomp_filter.h"

namespace umld::vmcore {
namespace {

// Above every descriptor number that the kernel is given.
constexpr int kFirstFreeFd = 128;

void Send(int socket, InitMessage::Kind kind, int value, const char* step) {
  InitMessage message = {kind, value, {}};
  strncpy(message.step, step, sizeof(message.step) - 1);
  // The peer is gone: then so are we, soon.
  [[maybe_unused]] ssize_t sent = send(socket, &message, sizeof(message), MSG_NOSIGNAL);
}

[[noreturn]] void Fail(int socket, const char* step) {
  Send(socket, InitMessage::kStepFailed, errno, step);
  _exit(1);
}

// The last that the kernel's process does of its own: from here on it can do only what the filter allows. The listener
// is vmcore's; ours closes with the exec.
void EnterFilter(int socket, const sock_fprog& filter) {
  const int listener = InstallSeccompFilter(filter);
  if (listener < 0) Fail(socket, "install the seccomp filter");
  InitMessage message = {InitMessage::kFilterIsOn, 0, {}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&message, sizeof(message)};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &listener, sizeof(listener));
  if (sendmsg(socket, &header, MSG_NOSIGNAL) < 0) Fail(socket, "hand over the seccomp listener");
}

bool CloseRange(unsigned first, unsigned last, unsigned flags) {
  return first > last || syscall(SYS_close_range, first, last, flags) == 0;
}

void DefaultSignals() {
  for (int signal_number = 1; signal_number < NSIG; ++signal_number) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// The kernel's process, up to its exec.
[[noreturn]] void RunKernel(const InitSpec& spec) {
  Send(spec.socket, InitMessage::kKernelStarts, 0, "");
  // Lifted first: a slave may sit on a number that is about to be taken.
  int lifted[kMaxTerminals] = {};
  int socket = fcntl(spec.socket, F_DUPFD_CLOEXEC, kFirstFreeFd);
  bool failed = socket < 0;
  for (size_t i = 0; i < spec.terminal_count && !failed; ++i) {
    lifted[i] = fcntl(spec.terminals[i], F_DUPFD_CLOEXEC, kFirstFreeFd);
    failed = lifted[i] < 0;
  }
  if (failed) Fail(spec.socket, "set up the kernel's descriptors");
  for (int fd : {1, 2}) dup2(lifted[0], fd);
  for (size_t i = 0; i < spec.terminal_count; ++i) dup2(lifted[i], TerminalFd(i));
  const bool closed = CloseRange(static_cast<unsigned>(TerminalFd(spec.terminal_count)), kFirstFreeFd - 1, 0) &&
                      CloseRange(kFirstFreeFd, ~0U, CLOSE_RANGE_CLOEXEC);
  // Before Linux 5.11, which confines nobody either, they are closed by the exec: all are made so.
  if (!closed && spec.jail != nullptr) Fail(socket, "close all descriptors");
  // Every panic is an abort: no core files of a guest's memory in the runtime directory. Not 0: with that, a program of
  // the host to which core dumps are piped (core_pattern) would be run, as root and with what the guest is. 1 forbids
  // both.
  rlimit no_core = {}, now = {};
  if (getrlimit(RLIMIT_CORE, &now) == 0) no_core.rlim_cur = no_core.rlim_max = std::min<rlim_t>(1, now.rlim_max);
  if (!IsRemoved("core") && setrlimit(RLIMIT_CORE, &no_core) != 0) Fail(socket, "forbid core files");
  // The guest's memory begins where the host puts the heap, and the kernel's array of struct page begins at the end of
  // the program: a random gap of up to 800 MiB between them would take up to 14 MiB of every guest's memory. UML's text
  // is at a fixed address in any case, and the layout of the guest's own processes is its kernel's to randomise.
  personality(ADDR_NO_RANDOMIZE);
  if (spec.jail != nullptr) {
    if (const char* step = spec.jail->DropPrivileges(); step != nullptr) Fail(socket, step);
  }
  // Should init be killed where no namespace dies with it. After the change of uid, which takes it away.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  DefaultSignals();
  if (spec.filter != nullptr) EnterFilter(socket, *spec.filter);
  execve(spec.argv[0], spec.argv, spec.environment);
  Fail(socket, "run the kernel");
}

// Leaves open what init itself needs.
void KeepOnly(int a, int b, int c) {
  int kept[] = {a, b, c};
  std::sort(std::begin(kept), std::end(kept));
  int next = 0;
  for (int fd : kept) {
    if (fd < 0) continue;
    CloseRange(static_cast<unsigned>(next), static_cast<unsigned>(fd) - 1U, 0);
    next = fd + 1;
  }
  CloseRange(static_cast<unsigned>(next), ~0U, 0);
}

[[noreturn]] void EndAll(const InitSpec& spec) {
  if (!spec.namespaced) KillAllChildren();
  _exit(0);
}

// Reaps all that has ended. When the kernel's main process is among them, reports it and ends the rest.
void Reap(const InitSpec& spec, pid_t kernel) {
  int status = 0;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
    if (pid != kernel) continue;
    Send(spec.socket, InitMessage::kKernelEnded, status, "");
    EndAll(spec);
  }
}

void Obey(const InitSpec& spec, pid_t kernel) {
  char command = 0;
  ssize_t got = recv(spec.socket, &command, 1, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0 || command == kEndAll) EndAll(spec);
  // Not yet reaped, since only this process reaps it: the pid is still the kernel's.
  if (command == kTerminateKernel) kill(kernel, SIGTERM);
  if (command == kNudgeKernel) kill(kernel, SIGIO);
}

// False: vmcore has gone, or wants no kernel any more.
bool MayStartKernel(const InitSpec& spec) {
  pollfd wait_for = {spec.socket, POLLIN, 0};
  while (poll(&wait_for, 1, -1) < 0 && errno == EINTR) {
  }
  char command = 0;
  return recv(spec.socket, &command, 1, MSG_DONTWAIT) == 1 && command == kStartKernel;
}

// The pid in "/proc/NAME" when it is a process whose parent is `parent`, else 0.
pid_t ChildIn(const char* name, pid_t parent) {
  char path[64], text[512];
  if (name[0] < '0' || name[0] > '9') return 0;
  snprintf(path, sizeof(path), "/proc/%.20s/stat", name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (got <= 0) return 0;
  text[got] = '\0';
  // The name in it may contain anything, so what follows is looked for from the last ')': " S PPID ...".
  const char* after_name = strrchr(text, ')');
  if (after_name == nullptr || strlen(after_name) < 4) return 0;
  if (strtol(after_name + 4, nullptr, 10) != parent) return 0;
  return static_cast<pid_t>(strtol(name, nullptr, 10));
}

}  // namespace

void KillAllChildren() {
  const pid_t self = getpid();
  while (true) {
    DIR* proc = opendir("/proc");
    if (proc != nullptr) {
      while (const dirent* entry = readdir(proc)) {
        if (pid_t child = ChildIn(entry->d_name, self); child > 0) kill(child, SIGKILL);
      }
      closedir(proc);
    }
    // The children of a dead child are ours before its death can be waited for, so ECHILD is the proof that nothing is
    // left: no live child, and nobody below one.
    if (waitpid(-1, nullptr, __WALL) < 0 && errno == ECHILD) return;
  }
}

void RunInit(const InitSpec& spec) {
  prctl(PR_SET_NAME, "vmcore-init");
  // Belt and braces in a namespace; elsewhere init must live to clean up, and sees vmcore's end on the socket.
  if (spec.namespaced) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!spec.namespaced && prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) Fail(spec.socket, "become a subreaper");
  for (int signal_number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) signal(signal_number, SIG_IGN);
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child_ended, nullptr);
  int signals = signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) Fail(spec.socket, "signalfd");

  // Before it starts anything.
  for (size_t i = 0; i < spec.cgroup_count && !IsRemoved("control-groups"); ++i) {
    if (write(spec.cgroups[i], "0", 1) != 1) Fail(spec.socket, "enter the guest's control groups");
  }
  if (spec.jail != nullptr) {
    if (const char* step = spec.jail->EnterNamespaces(); step != nullptr) Fail(spec.socket, step);
  }
  if (!MayStartKernel(spec)) EndAll(spec);
  if (spec.jail != nullptr) {
    if (const char* step = spec.jail->ForbidTracing(); step != nullptr) Fail(spec.socket, step);
  }
  const pid_t kernel = fork();
  if (kernel < 0) Fail(spec.socket, "fork the kernel's process");
  if (kernel == 0) RunKernel(spec);
  if (spec.jail != nullptr) {
    if (const char* step = spec.jail->DropInitPrivileges(); step != nullptr) Fail(spec.socket, step);
  }
  KeepOnly(spec.socket, spec.lock, signals);

  while (true) {
    pollfd fds[] = {{spec.socket, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) {
      signalfd_siginfo info;
      while (read(signals, &info, sizeof(info)) > 0) {
      }
      Reap(spec, kernel);
    }
    if (fds[0].revents != 0) Obey(spec, kernel);
  }
}

}  // namespace umld::vmcore
