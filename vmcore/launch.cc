#include "vmcore/launch.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "vmcore/init_process.h"
#include "vmcore/jail_controls.h"
#include "vmcore/log.h"
#include "vmcore/seccomp_filter.h"
#include "vmcore/user_namespace.h"

namespace umld::vmcore {
namespace {

// glibc 2.36 has no waitid flag for it.
constexpr auto kWaitByPidfd = static_cast<idtype_t>(3);  // P_PIDFD
// Taps that a guest may ask for at once, and in a second of a long time: each is a change of the host's network.
constexpr double kTapsAtOnce = 20, kTapsPerSecond = 10;
constexpr std::chrono::milliseconds kTapPause(100);

// The kernel keeps its RAM file in TMPDIR, else in /dev/shm, which is where it belongs.
std::vector<std::string> KernelEnvironment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "TERM=linux"};
}

// fork with namespaces: 0 in the child; a pidfd of the child comes with it.
pid_t CloneChild(uint64_t namespaces, int* pidfd) {
  return static_cast<pid_t>(syscall(SYS_clone, namespaces | CLONE_PIDFD | SIGCHLD, nullptr, pidfd, nullptr, nullptr));
}

// Until the child has ended, and reaps it.
void WaitForEnd(const UniqueFd& pidfd) {
  siginfo_t info = {};
  while (waitid(kWaitByPidfd, static_cast<id_t>(pidfd.get()), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

std::vector<v1::Isolation> Candidates(v1::Isolation wanted, const Jail* jail) {
  if (jail != nullptr) return {jail->isolation()};
  if (wanted != v1::ISOLATION_AUTO) return {wanted};
  return {v1::ISOLATION_PID_NAMESPACE, v1::ISOLATION_USER_NAMESPACE, v1::ISOLATION_PROCESS_GROUP};
}

// One attempt. -1 with errno: this host refuses that isolation.
pid_t ForkWith(v1::Isolation isolation, const Jail* jail, int* pidfd) {
  if (jail != nullptr) return CloneChild(Jail::Namespaces(), pidfd);
  switch (isolation) {
    case v1::ISOLATION_PID_NAMESPACE:
      return CloneChild(CLONE_NEWPID, pidfd);
    case v1::ISOLATION_USER_NAMESPACE:
      return EnterUserNamespace() ? CloneChild(CLONE_NEWPID, pidfd) : -1;
    default:
      // Should init be killed, its children become ours: see ReapInit.
      if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return -1;
      return CloneChild(0, pidfd);
  }
}

absl::string_view IsolationName(v1::Isolation isolation) {
  switch (isolation) {
    case v1::ISOLATION_PID_NAMESPACE:
      return "a PID namespace";
    case v1::ISOLATION_USER_NAMESPACE:
      return "a PID namespace in a user namespace";
    default:
      return "a process group";
  }
}

absl::Status Refused(v1::Isolation isolation, int error_number) {
  return MakeError(
      absl::StatusCode::kPermissionDenied,
      absl::StrCat("this host gives the guest no ", IsolationName(isolation).substr(2), ": ", strerror(error_number)),
      {"ISOLATION_REFUSED", "",
       "run umld as root, allow user namespaces (user.max_user_namespaces), or let umld choose"});
}

}  // namespace

absl::StatusOr<std::unique_ptr<KernelProcesses>> KernelProcesses::Launch(EventLoop* loop, const Options& options,
                                                                         Callbacks callbacks) {
  std::unique_ptr<KernelProcesses> processes(new KernelProcesses(loop, std::move(callbacks)));
  processes->give_tap_ = options.give_tap;
  RETURN_IF_ERROR(processes->ForkInit(options));
  processes->Watch();
  return processes;
}

KernelProcesses::KernelProcesses(EventLoop* loop, Callbacks callbacks)
    : loop_(loop), callbacks_(std::move(callbacks)), taps_(kTapsPerSecond, kTapsAtOnce) {}

absl::Status KernelProcesses::ForkInit(const Options& options) {
  ASSIGN_OR_RETURN(auto pair, PacketPair());
  const int on = 1;
  // Before the fork, so that no message can be sent without its credentials.
  if (setsockopt(pair.first.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
    return ErrnoError(errno, "ask for credentials");
  }
  std::vector<std::string> environment = KernelEnvironment();
  std::vector<char*> argv = ExecPointers(options.argv), envp = ExecPointers(environment);
  if (options.terminals.empty() || options.terminals.size() > kMaxTerminals) {
    return absl::InternalError(absl::StrCat(options.terminals.size(), " terminals"));
  }
  InitSpec spec = {argv.data(),         envp.data(),  options.terminals.data(), options.terminals.size(),
                   pair.second.get(),   options.lock,
                   /*namespaced=*/true, options.jail, options.cgroups.data(),   options.cgroups.size()};
  std::optional<SeccompFilter> filter;
  sock_fprog program = {};
  if (options.jail != nullptr && !IsRemoved("seccomp")) {
    ASSIGN_OR_RETURN(filter, SeccompFilter::Make());
    program = filter->program();
    spec.filter = &program;
  }
  absl::Status refused;
  for (v1::Isolation isolation : Candidates(options.isolation, options.jail)) {
    int pidfd = -1;
    spec.namespaced = isolation != v1::ISOLATION_PROCESS_GROUP;
    pid_t pid = ForkWith(isolation, options.jail, &pidfd);
    if (pid == 0) {
      // Our end must not stay open in the child, or it would never see that we are gone.
      close(pair.first.get());
      RunInit(spec);
    }
    if (pid > 0) {
      isolation_ = isolation;
      init_pidfd_.reset(pidfd);
      socket_ = std::move(pair.first);
      // Not reaped yet, so the pid is still this process's.
      init_ = IdentifyProcess(pid).value_or(ProcessIdentity{pid, 0});
      if (options.jail != nullptr) RETURN_IF_ERROR(options.jail->KernelStarted(pid));
      [[maybe_unused]] ssize_t sent = send(socket_.get(), &kStartKernel, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
      return absl::OkStatus();
    }
    refused = options.jail != nullptr ? Jail::NoNamespaces(errno) : Refused(isolation, errno);
    Log(refused.message());
  }
  return refused;
}

void KernelProcesses::Watch() {
  loop_->Watch(socket_.get(), EPOLLIN, [this](uint32_t) { ReadMessages(); });
  loop_->Watch(init_pidfd_.get(), EPOLLIN, [this](uint32_t) { ReapInit(); });
}

void KernelProcesses::WatchFilter(UniqueFd listener) {
  if (!listener.ok() || filter_.ok()) return;
  filter_ = std::move(listener);
  loop_->Watch(filter_.get(), EPOLLIN, [this](uint32_t events) { OnCaughtCall(events); });
}

void KernelProcesses::OnCaughtCall(uint32_t events) {
  if ((events & EPOLLIN) == 0) {
    if ((events & EPOLLHUP) != 0) ForgetFilter();  // nobody is under the filter any more
    return;
  }
  std::optional<CaughtCall> call = ReadCaughtCall(filter_.get());
  if (!call.has_value()) return ListenAgain();
  if (IsTapRequest(*call)) return AnswerTapRequest(*call);
  // The listener stays open: the caller sleeps in its call until it is dead.
  loop_->Unwatch(filter_.get());
  end_.forbidden_call = DescribeCall(*call);
  Log(absl::StrCat("process ", call->pid, " made a forbidden call: ", end_.forbidden_call));
  Kill();
}

// One at a time, by a process of its own: the caller decides how long it takes.
void KernelProcesses::AnswerTapRequest(const CaughtCall& call) {
  loop_->SetEvents(filter_.get(), 0);
  int pidfd = -1;
  const pid_t child = CloneChild(0, &pidfd);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Of all that this process holds, terminals and locks, it holds nothing.
    constexpr int kListener = 3;
    if (dup2(filter_.get(), kListener) != kListener) _exit(1);
    syscall(SYS_close_range, kListener + 1, ~0U, 0);
    vmcore::AnswerTapRequest(kListener, call, give_tap_);
    _exit(0);
  }
  if (child < 0) {
    AnswerCall(filter_.get(), call, EAGAIN);
    return ListenAgain();
  }
  answering_.reset(pidfd);
  loop_->Watch(answering_.get(), EPOLLIN, [this, call](uint32_t) {
    EndAnswer();
    // Should it have died before it could.
    AnswerCall(filter_.get(), call, EAGAIN);
    ListenAgain();
  });
}

// A guest that does nothing else keeps neither us nor the host's network configuration busy.
void KernelProcesses::ListenAgain() {
  auto listen = [this] {
    filter_pause_ = 0;
    loop_->SetEvents(filter_.get(), EPOLLIN);
  };
  if (taps_.Take(1, EventLoop::Clock::now())) return listen();
  loop_->SetEvents(filter_.get(), 0);
  filter_pause_ = loop_->RunAfter(kTapPause, listen);
}

void KernelProcesses::EndAnswer() {
  if (!answering_.ok()) return;
  loop_->Unwatch(answering_.get());
  syscall(SYS_pidfd_send_signal, answering_.get(), SIGKILL, nullptr, 0);
  WaitForEnd(answering_);
  answering_.reset();
}

void KernelProcesses::ForgetFilter() {
  EndAnswer();
  loop_->Cancel(std::exchange(filter_pause_, 0));
  if (filter_.ok()) loop_->Unwatch(filter_.get());
  filter_.reset();
}

KernelProcesses::~KernelProcesses() {
  ForgetFilter();
  if (!init_pidfd_.ok()) return;
  Kill();
  loop_->Unwatch(socket_.get());
  loop_->Unwatch(init_pidfd_.get());
  WaitForEnd(init_pidfd_);
  if (isolation_ == v1::ISOLATION_PROCESS_GROUP) KillAllChildren();
}

void KernelProcesses::Terminate() {
  [[maybe_unused]] ssize_t sent = send(socket_.get(), &kTerminateKernel, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void KernelProcesses::Nudge() {
  [[maybe_unused]] ssize_t sent = send(socket_.get(), &kNudgeKernel, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void KernelProcesses::Kill() {
  if (isolation_ != v1::ISOLATION_PROCESS_GROUP) {
    syscall(SYS_pidfd_send_signal, init_pidfd_.get(), SIGKILL, nullptr, 0);
    return;
  }
  // Not a signal: init has to hunt down what the kernel leaves, and only then may it go.
  [[maybe_unused]] ssize_t sent = send(socket_.get(), &kEndAll, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void KernelProcesses::ReadMessages() {
  while (true) {
    InitMessage message = {};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))] = {};
    iovec part = {&message, sizeof(message)};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    ssize_t got = recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) loop_->Unwatch(socket_.get());  // init is about to be reaped
    if (got != static_cast<ssize_t>(sizeof(message))) return;
    ucred sender = {};
    UniqueFd passed;
    for (cmsghdr* part_of = CMSG_FIRSTHDR(&header); part_of != nullptr; part_of = CMSG_NXTHDR(&header, part_of)) {
      if (part_of->cmsg_type == SCM_CREDENTIALS) std::memcpy(&sender, CMSG_DATA(part_of), sizeof(sender));
      int fd = -1;
      if (part_of->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(part_of), sizeof(fd));
      if (fd >= 0) passed.reset(fd);
    }
    switch (message.kind) {
      case InitMessage::kKernelStarts:
        // When it has ended already, its end is the next message, and there is nobody to identify.
        callbacks_.started(IdentifyProcess(sender.pid).value_or(ProcessIdentity{sender.pid, 0}));
        break;
      case InitMessage::kStepFailed:
        message.step[sizeof(message.step) - 1] = '\0';
        end_.failed_step = message.step;
        end_.failed_errno = message.value;
        break;
      case InitMessage::kFilterIsOn:
        WatchFilter(std::move(passed));
        break;
      case InitMessage::kKernelEnded:
        end_.wait_status = message.value;
        break;
    }
  }
}

void KernelProcesses::ReapInit() {
  ReadMessages();
  siginfo_t info = {};
  if (waitid(kWaitByPidfd, static_cast<id_t>(init_pidfd_.get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
    return;
  }
  // A PID namespace is empty before its init can be reaped. Without one, init has hunted down all that was left; when
  // it was killed before it could, what was left is ours now.
  if (isolation_ == v1::ISOLATION_PROCESS_GROUP) KillAllChildren();
  end_.init_wait_status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
  loop_->Unwatch(socket_.get());
  loop_->Unwatch(init_pidfd_.get());
  ForgetFilter();
  socket_.reset();
  init_pidfd_.reset();
  // Moved out: the owner may destroy this object in the callback.
  auto gone = std::move(callbacks_.gone);
  KernelEnd end = std::move(end_);
  gone(end);
}

}  // namespace umld::vmcore
