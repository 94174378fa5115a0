#ifndef UMLD_KERNEL_KERNEL_IDLE_H_
#define UMLD_KERNEL_KERNEL_IDLE_H_

#include "absl/status/statusor.h"
#include "base/process.h"

namespace umld::kernel {

// Whether the guest has nothing to do at this moment: its kernel's process sleeps in its idle loop, and the process
// that reads and writes its disks has nothing to read or write, so that all of the guest's processes that could run
// have had their turn. False: something runs or waits for the host's processor or disk, the kernel is of another make,
// or has gone. Reads a handful of files of the host's /proc, however many processes the guest has: does not block.
// Errors: it is not ours to look at.
absl::StatusOr<bool> IsIdle(const ProcessIdentity& kernel);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_IDLE_H_
