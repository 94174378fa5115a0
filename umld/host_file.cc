#include "umld/host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {

absl::Status CheckHostPath(const std::string& path) {
  if (!path.empty() && path[0] == '/' && path.find('\0') == std::string::npos) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", path, "\" is not an absolute path"),
                   {"INVALID_PATH", path, "begin it with a slash"});
}

absl::StatusOr<UniqueFd> OpenHostSource(const std::string& path) {
  RETURN_IF_ERROR(CheckHostPath(path));
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> BeginHostFile(const std::string& path) {
  RETURN_IF_ERROR(CheckHostPath(path));
  const std::string folder = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
  struct stat info = {};
  if (lstat(path.c_str(), &info) == 0) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " is there already"),
                     {"FILE_EXISTS", path, "choose another name, or remove it"});
  }
  UniqueFd fd(open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (fd.ok()) return fd;
  if (errno == EOPNOTSUPP || errno == EISDIR) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the filesystem of ", folder, " cannot make a file that has no name yet"),
                     {"NO_TMPFILE", folder, "export to another filesystem"});
  }
  return ErrnoError(errno, absl::StrCat("create a file in ", folder));
}

absl::Status EndHostFile(int fd, const std::string& path) {
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("write ", path));
  if (linkat(AT_FDCWD, absl::StrCat("/proc/self/fd/", fd).c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return ErrnoError(errno, absl::StrCat("create ", path));
  }
  return absl::OkStatus();
}

}  // namespace umld
