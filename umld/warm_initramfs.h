#ifndef UMLD_UMLD_WARM_INITRAMFS_H_
#define UMLD_UMLD_WARM_INITRAMFS_H_

#include <string>

namespace umld {

// The initramfs of the kernels that wait: a cpio archive ("newc") with guest/warm/init.c, the folders that it mounts
// on, and /dev/console.
std::string WarmInitramfs();

}  // namespace umld

#endif  // UMLD_UMLD_WARM_INITRAMFS_H_
