#include "vmcore/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/status.h"
#include "vmcore/jail_controls.h"

namespace umld::vmcore {
namespace {

constexpr int kNeeded[] = {
    CAP_SYS_ADMIN,         // namespaces, mounts, the seccomp filter
    CAP_SYS_CHROOT,        // into the kernel's mount namespace, when a disk is plugged
    CAP_SYS_PTRACE,        // the kernel's memory and /proc/PID: it has another uid
    CAP_NET_ADMIN,         // the taps of its interfaces
    CAP_NET_BIND_SERVICE,  // consoles on ports below 1024
    CAP_SETUID,            // the guest's uid; opening a disk as the user whose it is
    CAP_SETGID,            // the same
    CAP_SETFCAP,           // to lend files of root (an owner map with uid 0 in it)
    CAP_SETPCAP,           // the kernel loses its bounding set
    CAP_CHOWN,             // what the kernel is given in its root
    CAP_MKNOD,             // a block device that is a disk
    CAP_DAC_OVERRIDE,      // umld's own files, and those in the folder shared with the guest
    CAP_DAC_READ_SEARCH,   // the same
    CAP_FOWNER,            // the same
    CAP_KILL,              // processes of the guest's uid
};

constexpr uint64_t Mask() {
  uint64_t mask = 0;
  for (int capability : kNeeded) mask |= uint64_t{1} << capability;
  return mask;
}

}  // namespace

absl::Status DropUnneededCapabilities() {
  constexpr uint64_t kMask = Mask();
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return ErrnoError(errno, "read our capabilities");
  if ((data[0].permitted == 0 && data[1].permitted == 0) || IsRemoved("supervisor-privileges")) return absl::OkStatus();
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if ((kMask >> capability & 1) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return ErrnoError(errno, "shrink the bounding set");
  }
  for (int half = 0; half < 2; ++half) {
    // A host that has given us less gets no more asked of it here.
    const uint32_t kept = data[half].permitted & static_cast<uint32_t>(kMask >> (32 * half));
    data[half] = {kept, kept, 0};
  }
  return syscall(SYS_capset, &header, data) == 0 ? absl::OkStatus() : ErrnoError(errno, "drop capabilities");
}

}  // namespace umld::vmcore
