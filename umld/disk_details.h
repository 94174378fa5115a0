#ifndef UMLD_UMLD_DISK_DETAILS_H_
#define UMLD_UMLD_DISK_DETAILS_H_

#include <optional>

#include "base/credentials.h"
#include "umld/v1/resources.pb.h"

namespace umld {

// Fills in what has to be read from the disk's host files: sizes, padding, partitions, the risk of a COW file, or what
// is wrong with them. They are opened as `opener`, whose disk it is, and so is the kernel of `guest` when that is a
// path of its own. Blocks on the disk; reads a bounded amount of it. Thread-safe.
void AddDiskDetails(const std::optional<Credentials>& opener, const v1::Guest& guest, v1::Disk* disk);

}  // namespace umld

#endif  // UMLD_UMLD_DISK_DETAILS_H_
