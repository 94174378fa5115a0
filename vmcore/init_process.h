#ifndef UMLD_VMCORE_INIT_PROCESS_H_
#define UMLD_VMCORE_INIT_PROCESS_H_

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>

namespace umld::vmcore {

class Jail;

// The guest's init: the process between vmcore and the kernel. It starts the kernel, reaps whatever the kernel leaves
// behind, reports the kernel's end, and sees to it that nothing outlives it: as pid 1 of a PID namespace by dying, else
// as a subreaper that kills until nothing is left. When vmcore dies, it ends the guest.
// Runs in a freshly forked child of a single-threaded process: plain system calls, and it never goes back.

// What init and, before its exec, the kernel's process tell vmcore. Sent on a SOCK_SEQPACKET pair whose other end has
// SO_PASSCRED set: the credentials carry the sender's pid as the host sees it.
struct InitMessage {
  enum Kind : uint32_t {
    kKernelStarts = 1,  // from the kernel's process
    kStepFailed = 2,    // `value` is the errno, `step` what failed
    kKernelEnded = 3,   // `value` is the wait status
    kFilterIsOn = 4,    // from the kernel's process, with the seccomp filter's listener as SCM_RIGHTS
  };
  uint32_t kind;
  int32_t value;
  char step[48];
};

// What vmcore asks of init, one byte each. Closing the socket means kEndAll.
inline constexpr char kStartKernel = 'S';      // the first of all: vmcore has what it needs of init itself
inline constexpr char kTerminateKernel = 'T';  // SIGTERM to the kernel's main process
inline constexpr char kNudgeKernel = 'I';      // SIGIO to it
inline constexpr char kEndAll = 'K';           // kill everything, then exit

// 16 consoles, 64 serial lines, and spares.
inline constexpr size_t kMaxTerminals = 96;

struct InitSpec {
  char* const* argv;
  char* const* environment;
  const int* terminals;   // that the kernel inherits, at the descriptors of TerminalFd
  size_t terminal_count;  // at least 1, at most kMaxTerminals
  int socket;             // init's end
  int lock;               // kept open until init ends, or -1
  bool namespaced;        // it is pid 1 of a PID namespace
  const Jail* jail;       // which the kernel is started in; nullptr: it is not confined
  const int* cgroups;     // the entrances of its control groups (cgroup.h)
  size_t cgroup_count;
  const sock_fprog* filter = nullptr;  // of the kernel's system calls (seccomp_filter.h); nullptr: none
};

// Never returns.
[[noreturn]] void RunInit(const InitSpec& spec);

// Kills all children of this process, and what becomes its child as they die, until there are none. The caller is a
// subreaper. Blocks until they are reaped.
void KillAllChildren();

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_INIT_PROCESS_H_
