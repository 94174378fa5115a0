#ifndef UMLD_VMCORE_DISK_LINKS_H_
#define UMLD_VMCORE_DISK_LINKS_H_

#include <cstdint>
#include <string>

#include "devices/disk/disk_spec.h"

namespace umld::vmcore {

// A mconsole request holds 504 bytes of a disk's spec, and the kernel's command line 4,096 for all, while a path of the
// host may have 4,095. A disk with long paths is shown to the kernel under short ones of our own: symbolic links in
// kShownFolder. All of these are pure.
std::string DiskLink(uint32_t unit);
std::string BackingLink(uint32_t unit);

// Whether the disk needs its links.
bool HasLongPaths(const devices::DiskSpec& spec);
// The disk in the words that the kernel is given: as it is, or by its links.
devices::DiskSpec KernelDisk(const devices::DiskSpec& spec);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_DISK_LINKS_H_
