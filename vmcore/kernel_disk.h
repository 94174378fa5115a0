#ifndef UMLD_VMCORE_KERNEL_DISK_H_
#define UMLD_VMCORE_KERNEL_DISK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_spec.h"
#include "vmcore/disk_links.h"
#include "vmcore/jail.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// Does what the kernel needs to find before it can use the disk: its links, and a COW file that `file` says is still to
// be made (made here and not by the kernel, which would write the path it was given into its header, links and all).
// `jail`, which is shown the disk's files, is nullptr when the kernel is not confined. On failure nothing new is left.
// `created_cow` tells whether there is a new file, which is the caller's to remove when the plug fails.
// Blocks on the disk. Errors as CreateCow, and of the host.
absl::Status PrepareKernelDisk(const v1::Disk& disk, const devices::DiskFile& file, Jail* jail, bool* created_cow);

// Removes a COW file that was made for a plug which failed.
void RemoveCow(const v1::Disk& disk);

// Takes back what a unit needed that the kernel does not have any more.
void ForgetKernelDisk(uint32_t unit, Jail* jail);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_KERNEL_DISK_H_
