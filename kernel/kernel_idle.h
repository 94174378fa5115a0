#ifndef UMLD_KERNEL_KERNEL_IDLE_H_
#define UMLD_KERNEL_KERNEL_IDLE_H_

#include "base/process.h"

namespace umld::kernel {

// Whether the guest has nothing to do at this moment: its kernel's process sleeps in its idle loop, and the process that
// reads and writes its disks has nothing to read or write, so that all of the guest's processes that could run have had
// their turn. False: something runs or waits for the host's processor or disk, the kernel is of another make, has gone,
// or is not ours to look at.
// Reads the host's /proc: does not block.
bool IsIdle(const ProcessIdentity& kernel);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_IDLE_H_
