#ifndef UMLD_UMLD_KERNEL_MODULES_H_
#define UMLD_UMLD_KERNEL_MODULES_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/credentials.h"
#include "base/unique_fd.h"

namespace umld {

// A folder with the modules of one version of the kernel, that is with its modules.dep.
struct ModulesFolder {
  UniqueFd fd;
  std::string path;  // for people
};

// Opens the modules of `version` that `path` (absolute) has: in VERSION, in lib/modules/VERSION, or in itself when it
// is called VERSION. kInvalidArgument MODULES_DO_NOT_MATCH: there are none. Blocks on the disk.
absl::StatusOr<ModulesFolder> OpenModules(const std::string& path, const std::string& version);

// Makes an ext4 file system in the file `output`, with the folder's content under /VERSION, so that it belongs on
// /lib/modules. Regular files and folders alone are taken, nothing through a symbolic link. `work` is an empty folder
// of the caller's, who removes it; what is copied is read with the permissions of `user`. Blocks: a copy, and mke2fs.
// kResourceExhausted: too large, or the disk is full.
absl::Status BuildModulesImage(const ModulesFolder& folder, const std::string& version,
                               const std::optional<Credentials>& user, const std::string& work,
                               const std::string& output);

}  // namespace umld

#endif  // UMLD_UMLD_KERNEL_MODULES_H_
