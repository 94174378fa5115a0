#ifndef UMLD_KERNEL_HOST_MEMORY_H_
#define UMLD_KERNEL_HOST_MEMORY_H_

#include <cstdint>

#include "base/process.h"

namespace umld::kernel {

// Bytes of host memory behind a guest's memory: the blocks of the file that its kernel keeps it in. All processes of a
// guest map that file, so that adding up what each of them uses would count it several times.
// Reads the host's /proc: does not block. 0: the kernel has gone, or is not ours to look at.
uint64_t HostMemoryOf(const ProcessIdentity& kernel);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_HOST_MEMORY_H_
