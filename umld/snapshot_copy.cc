#include "umld/snapshot_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kBuffer = 1 << 20;

// For two filesystems between which the kernel does not copy.
absl::Status CopyByHand(int from, int to, off_t begin, off_t end) {
  std::vector<char> buffer(kBuffer);
  while (begin < end) {
    const size_t wanted = std::min<size_t>(kBuffer, static_cast<size_t>(end - begin));
    const ssize_t got = pread(from, buffer.data(), wanted, begin);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read");
    if (got == 0) return absl::OkStatus();
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = pwrite(to, buffer.data() + done, static_cast<size_t>(got - done), begin + done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return ErrnoError(errno, "write");
      done += put;
    }
    begin += got;
  }
  return absl::OkStatus();
}

absl::Status CopyRange(int from, int to, off_t begin, off_t end) {
  while (begin < end) {
    off_t in = begin, out = begin;
    const ssize_t copied = copy_file_range(from, &in, to, &out, static_cast<size_t>(end - begin), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO)) return ErrnoError(errno, "copy");
    // 0 is the end of the file, or a filesystem that does not say that it cannot.
    if (copied <= 0) return CopyByHand(from, to, begin, end);
    begin += copied;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CopySparse(int from, int to) {
  if (ioctl(to, FICLONE, from) == 0) return absl::OkStatus();
  if (errno == ENOSPC || errno == EDQUOT) return ErrnoError(errno, "copy");
  struct stat info = {};
  if (fstat(from, &info) != 0) return ErrnoError(errno, "stat");
  if (ftruncate(to, info.st_size) != 0) return ErrnoError(errno, "set the size");
  off_t at = 0;
  while (at < info.st_size) {
    const off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return absl::OkStatus();  // only a hole is left
    if (data < 0) return ErrnoError(errno, "look for data");
    off_t hole = lseek(from, data, SEEK_HOLE);
    if (hole < 0) return ErrnoError(errno, "look for holes");
    hole = std::min(hole, info.st_size);
    RETURN_IF_ERROR(CopyRange(from, to, data, hole));
    at = std::max(hole, data + 1);
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> NewFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  return fd;
}

}  // namespace umld
