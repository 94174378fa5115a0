#ifndef UMLD_DEVICES_DISK_OPEN_DISK_H_
#define UMLD_DEVICES_DISK_OPEN_DISK_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld::devices {

// An open file that a disk can be made of: not empty, regular or a block device.
struct OpenDisk {
  UniqueFd fd;
  struct stat info = {};
  uint64_t size_bytes = 0;
};

// A disk's size as a kernel counts it: whole sectors of 512.
inline uint64_t RoundUpToSector(uint64_t bytes) { return (bytes + 511) / 512 * 512; }

enum class DiskAccess { kRead, kReadWrite };

// Looks what the file is before opening it, so that a FIFO cannot block and no device is disturbed; what was looked at
// is what is opened. A block device that the host itself uses is refused for writing unless `shared`.
// kNotFound, kPermissionDenied, kInvalidArgument (no kind of file for a disk), kFailedPrecondition (empty, in use).
absl::StatusOr<OpenDisk> OpenDiskFile(const std::string& path, DiskAccess access, bool shared);

// The first `size` bytes, fewer at the end of the file. Errors as ErrnoError.
absl::StatusOr<std::string> ReadStart(const OpenDisk& disk, const std::string& path, size_t size);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_OPEN_DISK_H_
