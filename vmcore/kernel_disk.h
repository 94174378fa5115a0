#ifndef UMLD_VMCORE_KERNEL_DISK_H_
#define UMLD_VMCORE_KERNEL_DISK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_spec.h"

namespace umld::vmcore {

// A mconsole request holds 504 bytes of a disk's spec, and the kernel's command line 4,096 for all, while a path of the
// host may have 4,095. A disk with long paths is shown to the kernel under short ones of our own: symbolic links in
// this folder of the guest's runtime directory, which is the kernel's working directory.
inline constexpr char kDiskLinks[] = "disks";

// The disk in the words that the kernel is given: as it is, or by its links. Pure.
devices::DiskSpec KernelDisk(const devices::DiskSpec& spec);

// Does what the kernel needs to find before it can use the disk: its links, and a COW file that `file` says is still to
// be made (made here and not by the kernel, which would write the path it was given into its header, links and all).
// `created_cow` tells whether there is a new file, which is the caller's to remove when the plug fails.
// Blocks on the disk. Errors as CreateCow, and of the host.
absl::Status PrepareKernelDisk(const devices::DiskSpec& spec, const devices::DiskFile& file, bool* created_cow);

// Removes the links of a unit that the kernel does not have any more.
void ForgetKernelDisk(uint32_t unit);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_KERNEL_DISK_H_
