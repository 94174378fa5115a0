#ifndef UMLD_BASE_FILE_H_
#define UMLD_BASE_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// At most `max_bytes` of a regular or /proc file. Errors as ErrnoError. Blocks on the disk.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

// Replaces the file in one step that survives a power cut: temporary file, fsync, rename, fsync of the folder.
// On error the old file is still there and no temporary one is. Blocks on the disk.
absl::Status WriteFileDurably(const std::string& path, absl::string_view content, mode_t mode);

// Makes the folder and those above it; the last one gets `mode`, new ones above 0755. An existing one is left as it is.
absl::Status MakeFolders(const std::string& path, mode_t mode);

// Removes a folder with all that is in it; never follows a symbolic link. Not there: fine.
absl::Status RemoveFolder(const std::string& path);

}  // namespace umld

#endif  // UMLD_BASE_FILE_H_
