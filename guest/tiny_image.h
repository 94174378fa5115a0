#ifndef UMLD_GUEST_TINY_IMAGE_H_
#define UMLD_GUEST_TINY_IMAGE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umld::guest {

// Where Debian's busybox-static puts it.
inline constexpr char kDefaultBusybox[] = "/bin/busybox";

// Percent done, and what is being done now ("writing the filesystem").
using ImageProgress = std::function<void(int percent, const std::string& what)>;

// The whole program, which needs nothing beside it. kFailedPrecondition BUSYBOX_UNUSABLE: missing, or not statically
// linked. Blocks on the disk.
absl::StatusOr<std::string> ReadBusybox(const std::string& path);

// Makes the root filesystem of the image "tiny": busybox and a few scripts on ext4, a few MiB. con1 is a login without
// password, cad reboots in order. Needs no root and mounts nothing. `output_path` is replaced in one step, read-only
// (0444); on error it is as before and nothing is left behind.
// `progress` may be empty; it is called on the caller's thread. Blocks for about a second; any thread.
// kFailedPrecondition: busybox, mke2fs or debugfs is missing (the hint names the Debian package) or busybox is not
// statically linked. kPermissionDenied, kResourceExhausted from the host. kInternal carries what mke2fs or debugfs
// said.
absl::Status BuildTinyImage(const std::string& busybox_path, const std::string& output_path,
                            const ImageProgress& progress);

}  // namespace umld::guest

#endif  // UMLD_GUEST_TINY_IMAGE_H_
