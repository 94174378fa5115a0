#ifndef UMLD_UMLD_SNAPSHOT_COPY_H_
#define UMLD_UMLD_SNAPSHOT_COPY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// Makes the empty file `to` the same as the regular file `from`: by sharing its blocks where the filesystem can, else
// by copying what is no hole, from the beginning to the end. In that order a COW file is copied whole even when a write
// of its last moment is still under way: its bitmap comes before the data, and is written after it. kResourceExhausted:
// no room. Does not sync. Blocks on the disk.
absl::Status CopySparse(int from, int to);

// A new file that nobody else may open. kAlreadyExists.
absl::StatusOr<UniqueFd> NewFile(const std::string& path);

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOT_COPY_H_
