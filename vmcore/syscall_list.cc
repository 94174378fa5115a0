#include "vmcore/syscall_list.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/ptrace.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

// The list is what tools/record_syscalls saw of Debian's kernel (6.1), reviewed against the C library functions that
// the binary imports and the sources of arch/um. What a reader looks for and does not find here is left out on purpose:
// namespaces, mounts, bpf, perf, keys, io_uring, userfaultfd, file handles, another process's memory or descriptors,
// attaching to a process, any network but Unix sockets, listening, modules, clocks, changes of user or capability.
// The guest's own system calls are not affected: they stop in ptrace (SYSEMU) before the filter is asked.
namespace umld::vmcore {
namespace {

using If = CallRule::If;

// From <sys/ptrace.h>, which does not go together with <linux/ptrace.h>.
constexpr uint32_t kPtraceTraceMe = 0, kPtracePeekUser = 3, kPtracePokeUser = 6, kPtraceCont = 7, kPtraceKill = 8,
                   kPtraceOldSetOptions = 21, kPtraceSyscall = 24;

constexpr uint32_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                    CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME;

// clang-format off
std::vector<CallGroup> MakeList() {
  return {
      {"start",
       "The exec itself, the dynamic loader and the C library's start, of the kernel and of what it executes.",
       {
           {"execve"}, {"brk"}, {"access"}, {"uname"}, {"readlink"}, {"set_tid_address"}, {"set_robust_list"}, {"rseq"},
           {"getrandom"}, {"futex"}, {"exit"}, {"exit_group"},
           // ARCH_*: the thread pointer of itself and, in a stub, of the guest's process.
           {"arch_prctl", If::kEquals, 0, {ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS}},
           // CET, asked by the loader: not supported here is a good answer.
           {"arch_prctl", If::kEquals, 0, {0x3001}},
           // Limits are read, and of its own the stack's is set. Not the one of its files, which is vmcore's to raise,
           // nor the one of core dumps (RunKernel in init_process.cc).
           {"prlimit64", If::kNull, 2}, {"prlimit64", If::kEquals, 0, {0}, 0, false, RLIMIT_STACK},
           // The C library falls back to clone, whose flags can be looked at.
           {"clone3", If::kAlways, 0, {}, ENOSYS},
       }},
      {"memory",
       "Guest memory is a file mapped into the kernel and, by stubs, into each of the guest's processes; memory that is "
       "given back is cut out of the file (MADV_REMOVE).",
       {
           // No huge pages: the host's are set aside for somebody else, and no control group counts them as memory.
           {"mmap", If::kNoBits, 3, {MAP_HUGETLB}}, {"mmap", If::kAllBits, 3, {MAP_HUGETLB}, ENOMEM},
           {"munmap"}, {"mprotect"}, {"mremap"}, {"madvise"},
       }},
      {"files",
       "Disks, the memory file, its umid folder, and reading /proc/cpuinfo and the like where there is one.",
       {
           {"open"}, {"openat"}, {"close"}, {"read"}, {"write"}, {"readv"}, {"writev"}, {"pread64"}, {"pwrite64"},
           {"lseek"}, {"stat"}, {"fstat"}, {"lstat"}, {"newfstatat"}, {"statfs"}, {"fstatfs"}, {"fsync"}, {"fdatasync"},
           {"ftruncate"}, {"getdents64"}, {"getcwd"}, {"chdir"}, {"mkdir"}, {"rmdir"}, {"unlink"},
           {"dup"}, {"dup2"}, {"pipe"}, {"pipe2"},
           // Discard. With zeroes written by the host the guest could take space beyond a file's end, where no limit is
           // asked: it writes them itself, as on a file system that does not know how.
           {"fallocate", If::kEquals, 1, {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}},
           {"fallocate", If::kEquals, 1, {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}, EOPNOTSUPP},
           {"fcntl", If::kEquals, 1, {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL}},
           // Locks of disks.
           {"fcntl", If::kEquals, 1, {F_GETLK, F_SETLK, F_SETLKW}},
           // SIGIO for a descriptor to itself.
           {"fcntl", If::kEquals, 1, {/*F_SETOWN*/ 8, /*F_GETOWN*/ 9, /*F_SETSIG*/ 10}},
       }},
      {"hostfs",
       "What a hostfs share does on behalf of the guest beyond the above. Where it may do it is the jail's to say.",
       {
           {"rename"}, {"link"}, {"symlink"}, {"truncate"}, {"chown"}, {"lchown"}, {"fchown"},
           // A disk is the guest's file, and on the host it is a file as any: not one that runs as its owner.
           {"chmod", If::kNoBits, 1, {S_ISUID | S_ISGID}}, {"fchmod", If::kNoBits, 1, {S_ISUID | S_ISGID}},
           {"chmod", If::kAllBits, 1, {S_ISUID}, EPERM}, {"fchmod", If::kAllBits, 1, {S_ISUID}, EPERM},
           {"chmod", If::kAllBits, 1, {S_ISGID}, EPERM}, {"fchmod", If::kAllBits, 1, {S_ISGID}, EPERM},
           {"utime"}, {"utimes"}, {"utimensat"}, {"readlinkat"}, {"unlinkat"}, {"renameat2"},
           // Pipes, sockets and plain files. The bit of S_IFCHR is in both kinds of devices: the guest is told no.
           {"mknod", If::kNoBits, 1, {S_IFCHR}}, {"mknodat", If::kNoBits, 2, {S_IFCHR}},
           {"mknod", If::kAllBits, 1, {S_IFCHR}, EPERM}, {"mknodat", If::kAllBits, 2, {S_IFCHR}, EPERM},
       }},
      {"waiting",
       "The idle loop, the timer, interrupts: signals and epoll are what UML has for hardware.",
       {
           {"rt_sigaction"}, {"rt_sigprocmask"}, {"rt_sigreturn"}, {"rt_sigsuspend"}, {"sigaltstack"},
           {"pause"},
           {"timer_create"}, {"timer_settime"}, {"timer_gettime"}, {"timer_delete"}, {"setitimer"}, {"getitimer"},
           {"nanosleep"}, {"clock_nanosleep"}, {"clock_gettime"}, {"clock_getres"}, {"gettimeofday"}, {"time"},
           {"restart_syscall"}, {"epoll_create"}, {"epoll_create1"}, {"epoll_ctl"}, {"epoll_wait"}, {"epoll_pwait"},
           {"poll"}, {"ppoll"}, {"select"}, {"eventfd2"},
       }},
      {"processes",
       "The helpers (disk I/O, SIGIO, window sizes), and the stubs: one per address space of the guest.",
       {
           {"clone", If::kNoBits, 0, {kNewNamespaces}}, {"fork"}, {"vfork"}, {"wait4"},
           // To whom: the PID namespace has nobody else, and signals go to the same user only.
           {"kill"}, {"tgkill"},
           {"getpid"}, {"getppid"}, {"gettid"}, {"getuid"}, {"geteuid"}, {"getgid"}, {"getegid"}, {"getpgrp"},
           {"setsid"}, {"sched_yield"},
           // Thread-local storage of the guest's 32-bit programs, by a stub.
           {"modify_ldt"},
           {"prctl", If::kEquals, 0, {PR_SET_PDEATHSIG, PR_SET_NAME}},
       }},
      {"stubs",
       "How the kernel runs the guest's processes. It traces children that asked for it themselves: there is no "
       "ATTACH, no SEIZE, and no PEEKDATA or POKEDATA.",
       {
           {"ptrace", If::kEquals, 0, {kPtraceTraceMe, kPtracePeekUser, kPtracePokeUser, kPtraceCont, kPtraceKill,
                                       kPtraceOldSetOptions, kPtraceSyscall}},
           {"ptrace", If::kEquals, 0, {PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_GETFPREGS, PTRACE_SETFPREGS,
                                       PTRACE_GETREGSET, PTRACE_SETREGSET, PTRACE_SETOPTIONS, PTRACE_GETSIGINFO,
                                       PTRACE_SYSEMU, PTRACE_SYSEMU_SINGLESTEP, PTRACE_ARCH_PRCTL,
                                       PTRACE_GET_THREAD_AREA, PTRACE_SET_THREAD_AREA}},
       }},
      {"terminals",
       "Consoles are terminals that vmcore made: their modes and sizes, and a session for the window size helper. No "
       "TIOCSTI, which types into them. A tap comes as a descriptor (tap_request.h). A disk may be a block device.",
       {
           {"ioctl", If::kEquals, 1, {TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCSCTTY, TIOCGPGRP, TIOCSPGRP}},
           {"ioctl", If::kEquals, 1, {TIOCGPTN, TIOCSPTLCK, /*TIOCGPTPEER*/ 0x5441}},
           {"ioctl", If::kEquals, 1, {TUNSETIFF}, 0, /*by_vmcore=*/true},
           {"ioctl", If::kEquals, 1, {TUNGETFEATURES, TUNSETVNETHDRSZ}},
           // What UML turns on. Turned off and on all day it would keep the host busy with an interface that changes.
           {"ioctl", If::kEquals, 1, {TUNSETOFFLOAD}, 0, false, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6},
           {"ioctl", If::kEquals, 1, {BLKGETSIZE, BLKGETSIZE64}},
       }},
      {"sockets",
       "The mconsole, its notifications, frames to and from a switch or a tap: Unix sockets alone. A tap needs none.",
       {
           {"socket", If::kEquals, 0, {AF_UNIX}}, {"socketpair", If::kEquals, 0, {AF_UNIX}}, {"bind"}, {"connect"},
           {"shutdown"}, {"sendto"}, {"recvfrom"}, {"sendmsg"}, {"recvmsg"}, {"sendmmsg"}, {"recvmmsg"},
       }},
      {"newer kernels",
       "UML of 6.13 and later runs its stubs from a program in a memory file. Read in its source, not run.",
       {
           {"memfd_create", If::kNoBits, 1, {MFD_HUGETLB}}, {"execveat"}, {"close_range"},
       }},
  };
}
// clang-format on

}  // namespace

const std::vector<CallGroup>& SyscallList() {
  static const std::vector<CallGroup>* const list = new std::vector<CallGroup>(MakeList());
  return *list;
}

}  // namespace umld::vmcore
