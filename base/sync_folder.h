#ifndef UMLD_BASE_SYNC_FOLDER_H_
#define UMLD_BASE_SYNC_FOLDER_H_

#include <string>

#include "absl/status/status.h"

namespace umld {

// What is in the folder, by name, survives a power cut. Blocks on the disk; the host's errors.
absl::Status SyncFolder(const std::string& folder);

}  // namespace umld

#endif  // UMLD_BASE_SYNC_FOLDER_H_
