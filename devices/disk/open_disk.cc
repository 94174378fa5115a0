#include "devices/disk/open_disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/host_path.h"
#include "base/status.h"

namespace umld::devices {
namespace {

absl::Status NotADisk(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is ", what, ", not a disk"),
                   {"NOT_A_DISK", path, "use a regular file or a block device"});
}

absl::Status OpenError(int error_number, const std::string& path) {
  switch (error_number) {
    case ENOENT:
      return MakeError(absl::StatusCode::kNotFound, absl::StrCat(path, " does not exist"),
                       {"FILE_NOT_FOUND", path, "check the path, or make the file first (truncate -s 1G FILE)"});
    case ENOTDIR:
      return MakeError(absl::StatusCode::kNotFound,
                       absl::StrCat(path, " does not exist: a part of the path before the last is not a folder"),
                       {"FILE_NOT_FOUND", path, "check the path"});
    case ELOOP:
      return MakeError(absl::StatusCode::kInvalidArgument,
                       absl::StrCat(path,
                                    " is a symbolic link that leads in a circle, or a path through /proc into "
                                    "another process"),
                       {"NOT_A_DISK", path, "repair the link, or name the file itself"});
    case ENAMETOOLONG:
      return MakeError(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("a name in ", path, " is too long for the host"),
                       {"INVALID_DISK_SPEC", path, "use shorter names"});
    default: {
      absl::Status status = ErrnoError(error_number, absl::StrCat("open ", path));
      ErrorDetail detail = GetErrorDetail(status);
      detail.subject = path;
      return MakeError(status.code(), status.message(), detail);
    }
  }
}

absl::Status CheckKind(const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode) || S_ISBLK(info.st_mode)) return absl::OkStatus();
  if (S_ISDIR(info.st_mode)) return NotADisk(path, "a directory");
  if (S_ISFIFO(info.st_mode)) return NotADisk(path, "a FIFO");
  if (S_ISSOCK(info.st_mode)) return NotADisk(path, "a socket");
  if (S_ISCHR(info.st_mode)) return NotADisk(path, "a character device");
  return NotADisk(path, "something unknown");
}

absl::Status WriteError(int error_number, const std::string& path) {
  if (error_number == EACCES || error_number == EPERM || error_number == EROFS) {
    absl::StatusCode code =
        error_number == EROFS ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kPermissionDenied;
    return MakeError(
        code, absl::StrCat(path, error_number == EROFS ? " is on a read-only filesystem" : " is not writable here"),
        {"DISK_NOT_WRITABLE", path, "attach it read-only (flag r), put a COW file over it, or change its mode"});
  }
  if (error_number == EBUSY) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is in use by the host"),
                     {"DISK_IN_USE", path, "unmount it on the host, or attach it read-only (flag r)"});
  }
  return OpenError(error_number, path);
}

absl::StatusOr<uint64_t> SizeOf(int fd, const struct stat& info, const std::string& path) {
  uint64_t size = 0;
  if (S_ISREG(info.st_mode)) {
    size = static_cast<uint64_t>(info.st_size);
  } else if (ioctl(fd, BLKGETSIZE64, &size) != 0) {
    return ErrnoError(errno, absl::StrCat("read the size of ", path));
  }
  if (size == 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(path, " is empty, so the disk would have no space"),
                     {"DISK_EMPTY", path, "give it a size first (truncate -s 1G FILE)"});
  }
  return size;
}

}  // namespace

absl::StatusOr<OpenDisk> OpenDiskFile(const std::string& path, DiskAccess access, bool shared) {
  const UniqueFd handle = OpenHostPath(path, O_PATH | O_CLOEXEC);
  if (!handle.ok()) return OpenError(errno, path);
  OpenDisk disk;
  if (fstat(handle.get(), &disk.info) != 0) return ErrnoError(errno, absl::StrCat("stat ", path));
  RETURN_IF_ERROR(CheckKind(disk.info, path));

  int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (access == DiskAccess::kRead ? O_RDONLY : O_RDWR);
  // On a block device O_EXCL means: not while the host has it mounted or otherwise claimed.
  if (S_ISBLK(disk.info.st_mode) && access == DiskAccess::kReadWrite && !shared) flags |= O_EXCL;
  // By the handle and not by the path again, which may lead to another file by now.
  disk.fd.reset(open(absl::StrCat("/proc/self/fd/", handle.get()).c_str(), flags));
  if (!disk.fd.ok()) return access == DiskAccess::kRead ? OpenError(errno, path) : WriteError(errno, path);
  // A device may be read-only and let itself be opened for writing all the same (a loop device of losetup -r).
  int read_only = 0;
  if (S_ISBLK(disk.info.st_mode) && access == DiskAccess::kReadWrite &&
      ioctl(disk.fd.get(), BLKROGET, &read_only) == 0 && read_only != 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is a read-only device"),
                     {"DISK_NOT_WRITABLE", path, "attach it read-only (flag r), or put a COW file over it"});
  }
  ASSIGN_OR_RETURN(disk.size_bytes, SizeOf(disk.fd.get(), disk.info, path));
  return disk;
}

absl::StatusOr<std::string> ReadStart(const OpenDisk& disk, const std::string& path, size_t size) {
  std::string start(size, '\0');
  size_t got = 0;
  while (got < size) {
    ssize_t n = pread(disk.fd.get(), start.data() + got, size - got, static_cast<off_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("read ", path));
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  start.resize(got);
  return start;
}

}  // namespace umld::devices
