#include "umld/host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/host_path.h"
#include "base/status.h"

namespace umld {

absl::Status CheckHostPath(const std::string& path) {
  if (!path.empty() && path[0] == '/' && path.find('\0') == std::string::npos) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", path, "\" is not an absolute path"),
                   {"INVALID_PATH", path, "begin it with a slash"});
}

absl::StatusOr<UniqueFd> OpenHostSource(const std::string& path) {
  RETURN_IF_ERROR(CheckHostPath(path));
  UniqueFd fd = OpenHostPath(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  return fd;
}

namespace {

// Where a file is to be made, and its name there.
struct Target {
  UniqueFd folder;
  std::string name;
};
absl::StatusOr<Target> FindTarget(const std::string& path) {
  Target target;
  target.folder = OpenHostPath(path.substr(0, std::max<size_t>(path.rfind('/'), 1)), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (!target.folder.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  target.name = path.substr(path.rfind('/') + 1);
  if (target.name.empty()) target.name = ".";
  return target;
}

}  // namespace

absl::StatusOr<UniqueFd> BeginHostFile(const std::string& path) {
  RETURN_IF_ERROR(CheckHostPath(path));
  ASSIGN_OR_RETURN(const Target target, FindTarget(path));
  struct stat info = {};
  if (fstatat(target.folder.get(), target.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " is there already"),
                     {"FILE_EXISTS", path, "choose another name, or remove it"});
  }
  UniqueFd fd(openat(target.folder.get(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (fd.ok()) return fd;
  if (errno == EOPNOTSUPP || errno == EISDIR) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the filesystem of ", path, " cannot make a file that has no name yet"),
                     {"NO_TMPFILE", path, "export to another filesystem"});
  }
  return ErrnoError(errno, absl::StrCat("create ", path));
}

absl::Status EndHostFile(int fd, const std::string& path) {
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("write ", path));
  ASSIGN_OR_RETURN(const Target target, FindTarget(path));
  const std::string made = absl::StrCat("/proc/self/fd/", fd);
  if (linkat(AT_FDCWD, made.c_str(), target.folder.get(), target.name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return ErrnoError(errno, absl::StrCat("create ", path));
  }
  return absl::OkStatus();
}

}  // namespace umld
