#ifndef UMLD_UMLD_DISK_ROOM_H_
#define UMLD_UMLD_DISK_ROOM_H_

#include <sys/statvfs.h>

#include <cstdint>

#include "absl/status/status.h"
#include "umld/daemon_config.h"

namespace umld {

// What umld keeps free of a file system for the guests that write there, in bytes: --disk-reserve, of a small one a
// quarter at most. With less than that left guests are paused (disk_watch.h). Pure.
uint64_t DiskReserve(const DaemonConfig& config, const struct statvfs& host);

// Whether there is room on the file system of the open file `fd` for more of an image, a volume, an archive: such work
// ends before guests have to be paused for it, and what paused guests need to go on is left. Cheap: may be asked for
// every piece that is written. kResourceExhausted DISK_FULL.
absl::Status CheckDiskRoom(const DaemonConfig& config, int fd);

}  // namespace umld

#endif  // UMLD_UMLD_DISK_ROOM_H_
