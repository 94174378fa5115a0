#include "umld/disk_room.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"

namespace umld {

uint64_t DiskReserve(const DaemonConfig& config, const struct statvfs& host) {
  constexpr uint64_t kMostPart = 4;
  return std::min(config.disk_reserve_bytes, uint64_t{host.f_blocks} * host.f_frsize / kMostPart);
}

absl::Status CheckDiskRoom(const DaemonConfig& config, int fd) {
  struct statvfs host = {};
  if (fstatvfs(fd, &host) != 0) return absl::OkStatus();
  // Where paused guests go on.
  const uint64_t kept = DiskReserve(config, host) / 2 * 3, free = uint64_t{host.f_bavail} * host.f_frsize;
  if (free >= kept) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("the host's disk is full: ", HumanByteSize(free), " free, ", HumanByteSize(kept),
                                " kept for guests"),
                   {"DISK_FULL", "", "free space on that file system, or start umld with a smaller --disk-reserve"});
}

}  // namespace umld
