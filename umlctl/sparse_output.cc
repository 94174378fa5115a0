#include "umlctl/sparse_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/status.h"

namespace umld::umlctl {
namespace {

constexpr uint64_t kPiece = 1 << 20;

}  // namespace

absl::Status WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, "write what is exported");
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

SparseOutput::SparseOutput() {
  struct stat info = {};
  holes_ = fstat(STDOUT_FILENO, &info) == 0 && S_ISREG(info.st_mode) &&
           (fcntl(STDOUT_FILENO, F_GETFL) & O_APPEND) == 0 && lseek(STDOUT_FILENO, 0, SEEK_CUR) == 0;
}

absl::Status SparseOutput::SkipTo(uint64_t offset) {
  if (holes_) {
    if (lseek(STDOUT_FILENO, static_cast<off_t>(offset), SEEK_SET) < 0) {
      return ErrnoError(errno, "write what is exported");
    }
    at_ = offset;
  }
  while (at_ < offset) {
    const std::string zeros(std::min<uint64_t>(kPiece, offset - at_), '\0');
    RETURN_IF_ERROR(WriteAll(STDOUT_FILENO, zeros));
    at_ += zeros.size();
  }
  return absl::OkStatus();
}

absl::Status SparseOutput::Take(uint64_t size, uint64_t offset, absl::string_view data) {
  size_ = std::max(size_, size);
  RETURN_IF_ERROR(SkipTo(offset));
  RETURN_IF_ERROR(WriteAll(STDOUT_FILENO, data));
  at_ += data.size();
  return absl::OkStatus();
}

absl::Status SparseOutput::End() {
  RETURN_IF_ERROR(SkipTo(size_));
  if (holes_ && ftruncate(STDOUT_FILENO, static_cast<off_t>(size_)) != 0) {
    return ErrnoError(errno, "write what is exported");
  }
  return absl::OkStatus();
}

}  // namespace umld::umlctl
