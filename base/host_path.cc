#include "base/host_path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace umld {

UniqueFd OpenHostPath(const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<unsigned>(flags);
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how))));
}

bool StatHostPath(const std::string& path, struct stat* info) {
  const UniqueFd file = OpenHostPath(path, O_PATH | O_CLOEXEC);
  return file.ok() && fstat(file.get(), info) == 0;
}

}  // namespace umld
