#include "vmcore/seccomp_filter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "vmcore/syscall_list.h"
#include "vmcore/tap_request.h"

namespace umld::vmcore {
namespace {

// What became of a child under the filter.
struct Fate {
  std::string forbidden;  // the call it was caught at
  int status = 0;         // else its wait status
};

void SendFd(int socket, int fd) {
  char byte = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&byte, 1};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  if (sendmsg(socket, &header, 0) != 1) _exit(90);
}

UniqueFd ReceiveFd(int socket) {
  char byte = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&byte, 1};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  int fd = -1;
  if (recvmsg(socket, &header, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&header) != nullptr) {
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fd));
  }
  return UniqueFd(fd);
}

// Runs `body` in a child under the filter; its result is the child's exit code. `hold`: somebody holds the listener,
// and answers requests for taps with `give`.
Fate Under(const std::function<int()>& body, bool hold = true, const GiveTap& give = nullptr) {
  auto filter = SeccompFilter::Make();
  EXPECT_TRUE(filter.ok()) << filter.status();
  int pair[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const sock_fprog program = filter->program();
  const pid_t child = fork();
  if (child == 0) {
    int listener = InstallSeccompFilter(program);
    if (listener < 0) _exit(91);
    SendFd(pair[1], listener);
    close(listener);
    char go = 0;
    if (read(pair[1], &go, 1) != 1) _exit(92);
    _exit(body());
  }
  close(pair[1]);
  UniqueFd socket(pair[0]);
  UniqueFd listener = ReceiveFd(socket.get());
  EXPECT_TRUE(listener.ok());
  if (!hold) listener.reset();
  EXPECT_EQ(write(socket.get(), "g", 1), 1);
  Fate fate;
  while (hold) {
    pollfd event = {listener.get(), POLLIN, 0};
    EXPECT_EQ(poll(&event, 1, 20000), 1);
    if ((event.revents & POLLIN) == 0) break;
    auto call = ReadCaughtCall(listener.get());
    EXPECT_TRUE(call.has_value());
    if (call.has_value() && give != nullptr && IsTapRequest(*call)) {
      AnswerTapRequest(listener.get(), *call, give);
      continue;
    }
    if (call.has_value()) fate.forbidden = DescribeCall(*call);
    kill(child, SIGKILL);
    break;
  }
  EXPECT_EQ(waitpid(child, &fate.status, 0), child);
  return fate;
}

void ExpectForbidden(const std::string& name, const std::function<long()>& call) {
  Fate fate = Under([&call] {
    call();
    return 0;
  });
  EXPECT_TRUE(absl::StartsWith(fate.forbidden, name + "(")) << name << ": \"" << fate.forbidden << '"';
  EXPECT_TRUE(WIFSIGNALED(fate.status) && WTERMSIG(fate.status) == SIGKILL) << name << ": " << fate.status;
}

// The call works, or fails as it does without a filter: its errno is the child's exit code.
void ExpectAllowed(const std::string& name, int wanted_errno, const std::function<long()>& call) {
  Fate fate = Under([&call] { return call() < 0 ? errno : 0; });
  EXPECT_EQ(fate.forbidden, "") << name;
  EXPECT_TRUE(WIFEXITED(fate.status) && WEXITSTATUS(fate.status) == wanted_errno) << name << ": " << fate.status;
}

TEST(SeccompFilterTest, WhatIsNotOnTheListIsCaughtByName) {
  ExpectForbidden("unshare", [] { return syscall(SYS_unshare, CLONE_NEWUSER); });
  ExpectForbidden("setns", [] { return syscall(SYS_setns, 0, 0); });
  ExpectForbidden("mount", [] { return syscall(SYS_mount, "none", "/", "tmpfs", 0, 0); });
  ExpectForbidden("umount2", [] { return syscall(SYS_umount2, "/", 0); });
  ExpectForbidden("pivot_root", [] { return syscall(SYS_pivot_root, "/", "/"); });
  ExpectForbidden("chroot", [] { return syscall(SYS_chroot, "/"); });
  ExpectForbidden("open_tree", [] { return syscall(SYS_open_tree, -1, "/", 0); });
  ExpectForbidden("move_mount", [] { return syscall(SYS_move_mount, -1, "/", -1, "/", 0); });
  ExpectForbidden("fsopen", [] { return syscall(SYS_fsopen, "tmpfs", 0); });
  ExpectForbidden("bpf", [] { return syscall(SYS_bpf, 0, 0, 0); });
  ExpectForbidden("perf_event_open", [] { return syscall(SYS_perf_event_open, 0, 0, 0, 0, 0); });
  ExpectForbidden("keyctl", [] { return syscall(SYS_keyctl, 0, 0, 0, 0, 0); });
  ExpectForbidden("add_key", [] { return syscall(SYS_add_key, 0, 0, 0, 0, 0); });
  ExpectForbidden("io_uring_setup", [] { return syscall(SYS_io_uring_setup, 1, 0); });
  ExpectForbidden("userfaultfd", [] { return syscall(SYS_userfaultfd, 0); });
  ExpectForbidden("open_by_handle_at", [] { return syscall(SYS_open_by_handle_at, 0, 0, 0); });
  ExpectForbidden("name_to_handle_at", [] { return syscall(SYS_name_to_handle_at, 0, 0, 0, 0, 0); });
  ExpectForbidden("process_vm_readv", [] { return syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0); });
  ExpectForbidden("process_vm_writev", [] { return syscall(SYS_process_vm_writev, getppid(), 0, 0, 0, 0, 0); });
  ExpectForbidden("pidfd_open", [] { return syscall(SYS_pidfd_open, getppid(), 0); });
  ExpectForbidden("pidfd_getfd", [] { return syscall(SYS_pidfd_getfd, 0, 0, 0); });
  ExpectForbidden("seccomp", [] { return syscall(SYS_seccomp, 0, 0, 0); });
  ExpectForbidden("personality", [] { return syscall(SYS_personality, 0xffffffff); });
  ExpectForbidden("setuid", [] { return syscall(SYS_setuid, 0); });
  ExpectForbidden("capset", [] { return syscall(SYS_capset, 0, 0); });
  ExpectForbidden("setgroups", [] { return syscall(SYS_setgroups, 0, 0); });
  ExpectForbidden("init_module", [] { return syscall(SYS_init_module, 0, 0, ""); });
  ExpectForbidden("kexec_load", [] { return syscall(SYS_kexec_load, 0, 0, 0, 0); });
  ExpectForbidden("reboot", [] { return syscall(SYS_reboot, 0, 0, 0, 0); });
  ExpectForbidden("listen", [] { return syscall(SYS_listen, 0, 0); });
  ExpectForbidden("clock_settime", [] { return syscall(SYS_clock_settime, 0, 0); });
  ExpectForbidden("system call 1000", [] { return syscall(1000, 1, 2, 3); });
}

TEST(SeccompFilterTest, ArgumentsAreLookedAt) {
  ExpectForbidden("socket", [] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); });
  ExpectForbidden("socket", [] { return syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0); });
  ExpectForbidden("socket", [] { return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0); });
  ExpectForbidden("socket", [] { return syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0); });
  ExpectForbidden("socket", [] { return syscall(SYS_socket, 38 /* AF_ALG */, SOCK_SEQPACKET, 0); });
  // The host looks at the lower half of an int alone, and so does the filter.
  ExpectForbidden("socket", [] { return syscall(SYS_socket, 0x100000000UL | AF_INET, SOCK_STREAM, 0); });
  ExpectAllowed("socket", 0, [] { return syscall(SYS_socket, 0x100000000UL | AF_UNIX, SOCK_STREAM, 0); });
  ExpectAllowed("socket", 0, [] { return syscall(SYS_socket, AF_UNIX, SOCK_DGRAM, 0); });

  for (long bit :
       {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, 0x80}) {
    ExpectForbidden("clone", [bit] { return syscall(SYS_clone, SIGCHLD | bit, 0, 0, 0, 0); });
  }
  ExpectForbidden("ptrace", [] { return syscall(SYS_ptrace, PTRACE_ATTACH, getppid(), 0, 0); });
  ExpectForbidden("ptrace", [] { return syscall(SYS_ptrace, PTRACE_SEIZE, getppid(), 0, 0); });
  ExpectForbidden("ptrace", [] { return syscall(SYS_ptrace, PTRACE_POKEDATA, getppid(), 0, 0); });
  ExpectAllowed("ptrace", ESRCH, [] { return syscall(SYS_ptrace, PTRACE_CONT, getppid(), 0, 0); });
  ExpectForbidden("ioctl", [] { return syscall(SYS_ioctl, 0, TIOCSTI, "x"); });
  ExpectForbidden("ioctl", [] { return syscall(SYS_ioctl, 0, 0xab00, 0); });
  ExpectAllowed("ioctl", EBADF, [] { return syscall(SYS_ioctl, -1, TCGETS, 0); });
  ExpectForbidden("prctl", [] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); });
  ExpectForbidden("prctl", [] { return syscall(SYS_prctl, PR_SET_SECCOMP, 1, 0, 0, 0); });
  ExpectForbidden("fcntl", [] { return syscall(SYS_fcntl, 0, F_SETLEASE, F_RDLCK); });
  // Its limits stay what they are, but for its stack's. The other half of a pointer counts too.
  static const rlimit some = {1 << 20, 1 << 20};
  for (const int resource : {RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_NPROC}) {
    ExpectForbidden("prlimit64", [=] { return syscall(SYS_prlimit64, 0, resource, &some, 0); });
    ExpectAllowed("prlimit64", 0, [=] { return syscall(SYS_prlimit64, 0, resource, 0, 0); });
  }
  ExpectForbidden("prlimit64", [] { return syscall(SYS_prlimit64, 0, RLIMIT_CORE, uint64_t{1} << 32U, 0); });
  ExpectForbidden("prlimit64", [] { return syscall(SYS_prlimit64, getppid(), RLIMIT_STACK, &some, 0); });
  ExpectAllowed("prlimit64", 0, [] { return syscall(SYS_prlimit64, 0, RLIMIT_STACK, &some, 0); });
  // A disk is the guest's file, which others on the host see: it does not run as its owner, and takes no space behind
  // its end.
  for (const mode_t mode : {04755U, 02755U, 06755U}) {
    ExpectAllowed("fchmod", EPERM, [=] { return fchmod(0, mode); });
    ExpectAllowed("chmod", EPERM, [=] { return chmod("/nowhere", mode); });
  }
  ExpectAllowed("chmod", ENOENT, [] { return chmod("/nowhere", 0777); });
  ExpectForbidden("fallocate", [] { return fallocate(0, 0, 0, 4096); });
  ExpectForbidden("fallocate", [] { return fallocate(0, FALLOC_FL_KEEP_SIZE, 0, 4096); });
  ExpectAllowed("fallocate", EOPNOTSUPP,
                [] { return fallocate(0, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096); });
  ExpectAllowed("fallocate", EBADF, [] { return fallocate(99, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096); });
  ExpectAllowed("mmap", ENOMEM, [] {
    return mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0) == MAP_FAILED ? -1 : 0;
  });
  ExpectForbidden("memfd_create", [] { return syscall(SYS_memfd_create, "x", MFD_HUGETLB); });
}

#ifdef __x86_64__
long GetpidBy32BitTable() {
  long result = 20;
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  return result;
}

TEST(SeccompFilterTest, OtherTablesOfNumbersAreCaught) {
  ExpectForbidden("system call 1073741863", [] { return syscall(0x40000000 | SYS_getpid); });
  // Where the host has no such calls the instruction is a fault, which comes to no filter.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // a sanitizer reports it otherwise, and exits
    _exit(GetpidBy32BitTable() == getpid() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) GTEST_SKIP() << "this host has no 32-bit system calls";
  ExpectForbidden("32-bit getpid", GetpidBy32BitTable);
}
#endif

TEST(SeccompFilterTest, SomeCallsAreRefusedAndTheGuestGoesOn) {
  ExpectAllowed("clone3", ENOSYS, [] { return syscall(SYS_clone3, 0, 0); });
  ExpectAllowed("mknod", EPERM, [] { return syscall(SYS_mknod, "/tmp/umld-seccomp-test", S_IFCHR | 0600, 0x103); });
  ExpectAllowed("mknod", EPERM, [] { return syscall(SYS_mknod, "/tmp/umld-seccomp-test", S_IFBLK | 0600, 0x800); });
}

TEST(SeccompFilterTest, ProgramsStillRunBelowIt) {
  // Dynamic, with a shell, a pipe and a child: what is inherited by fork and exec lets through what it should.
  Fate fate = Under([] {
    execl("/bin/sh", "sh", "-c", "test \"$(echo a)\" = a && exit 7", nullptr);
    return 1;
  });
  EXPECT_EQ(fate.forbidden, "");
  EXPECT_TRUE(WIFEXITED(fate.status) && WEXITSTATUS(fate.status) == 7) << fate.status;
}

TEST(SeccompFilterTest, ItIsInheritedByChildrenAndPrograms) {
  Fate fate = Under([] {
    execl("/usr/bin/unshare", "unshare", "-r", "true", nullptr);
    return 1;
  });
  EXPECT_TRUE(absl::StartsWith(fate.forbidden, "unshare(0x10000000")) << fate.forbidden;
  fate = Under([] {
    const pid_t child = fork();
    if (child == 0) _exit(syscall(SYS_chroot, "/") == 0 ? 1 : 2);
    int status = 0;
    waitpid(child, &status, 0);
    return 0;
  });
  EXPECT_TRUE(absl::StartsWith(fate.forbidden, "chroot(")) << fate.forbidden;
}

TEST(SeccompFilterTest, WithoutAListenerAForbiddenCallFails) {
  Fate fate = Under([] { return syscall(SYS_unshare, CLONE_NEWUSER) < 0 ? errno : 0; }, /*hold=*/false);
  EXPECT_TRUE(WIFEXITED(fate.status) && WEXITSTATUS(fate.status) == ENOSYS) << fate.status;
}

int AskForTap(int fd, const char* name, int flags) {
  ifreq request = {};
  strncpy(request.ifr_name, name, IFNAMSIZ);
  request.ifr_flags = static_cast<short>(flags);
  return ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
}

TEST(SeccompFilterTest, ATapComesInThePlaceOfWhatWasOpened) {
  int tap[2];
  ASSERT_EQ(pipe2(tap, O_CLOEXEC), 0);
  std::vector<std::string> asked;
  auto give = [&](const std::string& name, unsigned flags, UniqueFd* attached) {
    asked.push_back(absl::StrCat(name, " ", flags));
    if (name != "tap0") return ENODEV;
    attached->reset(fcntl(tap[1], F_DUPFD_CLOEXEC, 0));
    return 0;
  };
  Fate fate = Under(
      [] {
        const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (AskForTap(fd, "another", IFF_TAP) != ENODEV || write(fd, "lost", 4) != 4) return 1;
        if (AskForTap(fd, "tap0", IFF_TAP | IFF_NO_PI) != 0 || write(fd, "frame", 5) != 5) return 2;
        if (fcntl(fd, F_GETFD) != FD_CLOEXEC) return 3;
        // Once more, as an interface that comes up again does it.
        close(fd);
        const int again = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (AskForTap(again, "tap0", IFF_TAP) != 0 || write(again, "!", 1) != 1) return 4;
        // What is no address, no name's end, no descriptor.
        if (ioctl(again, TUNSETIFF, 8) == 0 || errno != EFAULT) return 5;
        if (AskForTap(again, "sixteen-bytes-ab", IFF_TAP) != ENODEV) return 6;
        return AskForTap(1 << 30, "tap0", IFF_TAP) == 0 ? 7 : 0;
      },
      true, give);
  EXPECT_EQ(fate.forbidden, "");
  EXPECT_TRUE(WIFEXITED(fate.status) && WEXITSTATUS(fate.status) == 0) << fate.status;
  EXPECT_EQ(asked, (std::vector<std::string>{"another 2", "tap0 4098", "tap0 2", "sixteen-bytes-ab 2", "tap0 2"}));
  close(tap[1]);
  char written[16] = {};
  EXPECT_EQ(read(tap[0], written, sizeof(written)), 6);
  EXPECT_STREQ(written, "frame!");
  close(tap[0]);
}

// Whoever has a tap can do nothing with the host's end but what a kernel needs.
TEST(SeccompFilterTest, ATapIsNotItsHoldersToChange) {
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNSETPERSIST, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNSETOWNER, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, SIOCSIFHWADDR, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNATTACHFILTER, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNSETIFF, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNSETOFFLOAD, 0); });
  ExpectForbidden("ioctl", [] { return ioctl(0, TUNSETOFFLOAD, TUN_F_CSUM); });
  ExpectAllowed("ioctl", ENOTTY,
                [] { return ioctl(open("/dev/null", O_RDWR), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6); });
}

// As a signal does to one that waits to be read, and a kill to any: nothing is left hanging, and the next call is seen.
TEST(SeccompFilterTest, ACallerThatGoesAwayIsNobodysLoss) {
  auto give = [](const std::string& name, unsigned, UniqueFd* attached) {
    // The caller's child dies of this, before it gets an answer.
    kill(static_cast<pid_t>(std::stoi(name)), SIGKILL);
    attached->reset(open("/dev/null", O_RDWR | O_CLOEXEC));
    return 0;
  };
  Fate fate = Under(
      [] {
        const pid_t child = fork();
        if (child == 0) {
          AskForTap(0, std::to_string(getpid()).c_str(), IFF_TAP);
          _exit(1);
        }
        int status = 0;
        if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) return 1;
        syscall(SYS_chroot, "/");
        return 2;
      },
      true, give);
  EXPECT_TRUE(absl::StartsWith(fate.forbidden, "chroot(")) << fate.forbidden << " " << fate.status;
}

TEST(SeccompFilterTest, TheListIsOfKnownCallsWithReasons) {
  std::set<std::string> groups;
  for (const CallGroup& group : SyscallList()) {
    EXPECT_TRUE(groups.insert(group.name).second) << group.name;
    EXPECT_GT(strlen(group.reason), 20U) << group.name;
    for (const CallRule& rule : group.rules) {
      const bool has_none = rule.condition == CallRule::If::kAlways || rule.condition == CallRule::If::kNull;
      EXPECT_EQ(rule.values.empty(), has_none) << rule.name;
      EXPECT_TRUE(!rule.next.has_value() || rule.condition == CallRule::If::kEquals) << rule.name;
    }
  }
}

}  // namespace
}  // namespace umld::vmcore
