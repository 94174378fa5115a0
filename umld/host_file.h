#ifndef UMLD_UMLD_HOST_FILE_H_
#define UMLD_UMLD_HOST_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// Files of the host that a request names, to be read and made within ActAs. All block on the disk.

// kInvalidArgument INVALID_PATH: not absolute.
absl::Status CheckHostPath(const std::string& path);

// Open for reading. Never waits: what it is (a FIFO) is for the caller to look at. Errors as ErrnoError.
absl::StatusOr<UniqueFd> OpenHostSource(const std::string& path);

// A new file that is nowhere before EndHostFile gives it its name, whole and synced. kAlreadyExists FILE_EXISTS;
// kFailedPrecondition NO_TMPFILE; else as ErrnoError.
absl::StatusOr<UniqueFd> BeginHostFile(const std::string& path);
absl::Status EndHostFile(int fd, const std::string& path);

}  // namespace umld

#endif  // UMLD_UMLD_HOST_FILE_H_
