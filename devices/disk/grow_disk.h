#ifndef UMLD_DEVICES_DISK_GROW_DISK_H_
#define UMLD_DEVICES_DISK_GROW_DISK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "devices/disk/disk_spec.h"

namespace umld::devices {

// What a disk's file would grow from, when it may grow to `size_bytes` at all. Changes nothing. Blocks on the disk.
// kFailedPrecondition: WOULD_SHRINK, COW_FIXED_SIZE, BLOCK_DEVICE, READ_ONLY_DISK, each with the way out; else as
// OpenDiskFile.
absl::StatusOr<uint64_t> CheckGrow(const DiskSpec& spec, uint64_t size_bytes);

// Makes the file of a plain disk `size_bytes` long (the new part is a hole that reads as zeros) and syncs that; never
// shorter. Fine when it is that long already, so it may be repeated. The errors of CheckGrow; kInvalidArgument: larger
// than the host's filesystem allows; kResourceExhausted.
absl::Status GrowDisk(const DiskSpec& spec, uint64_t size_bytes);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_GROW_DISK_H_
