#include "devices/console/console_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

struct OpenedLog {
  UniqueFd fd;
  uint64_t size = 0;
};

absl::StatusOr<OpenedLog> OpenLog(const std::string& path) {
  OpenedLog log;
  // O_NONBLOCK: should a FIFO lie there, neither this open nor a later write may wait for its reader.
  log.fd.reset(
      open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat info = {};
  if (!log.fd.ok() || fstat(log.fd.get(), &info) != 0) return ErrnoError(errno, absl::StrCat("open log ", path));
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the log ", path, " is not a regular file"),
                     {"NOT_A_FILE", path, "move it away"});
  }
  log.size = static_cast<uint64_t>(info.st_size);
  return log;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConsoleLog>> ConsoleLog::Open(const std::string& path, uint64_t max_bytes,
                                                             TokenBucket* allowance) {
  std::unique_ptr<ConsoleLog> log(new ConsoleLog(path, max_bytes, allowance));
  RETURN_IF_ERROR(log->Reopen());
  return log;
}

absl::Status ConsoleLog::Reopen() {
  ASSIGN_OR_RETURN(OpenedLog opened, OpenLog(path_));
  fd_ = std::move(opened.fd);
  size_ = opened.size;
  return absl::OkStatus();
}

bool ConsoleLog::IsAllowed(size_t bytes, TokenBucket::Clock::time_point now) {
  if (now < muted_until_) return false;
  if (allowance_->Take(static_cast<double>(bytes), now)) return true;
  muted_until_ = now + kGap;
  why_ = "the guest prints without end";
  return false;
}

void ConsoleLog::Append(absl::string_view bytes, TokenBucket::Clock::time_point now) {
  bool ready = IsAllowed(bytes.size(), now) && (size_ + bytes.size() <= max_bytes_ || size_ == 0 || Rotate());
  if (ready && gap_ > 0) ready = WriteGapNote();
  size_t written = ready ? Write(bytes) : 0;
  gap_ += bytes.size() - written;
  dropped_ += bytes.size() - written;
}

bool ConsoleLog::Rotate() {
  if (rename(path_.c_str(), absl::StrCat(path_, ".1").c_str()) != 0 && errno != ENOENT) {
    why_ = std::strerror(errno);
    return false;
  }
  // Should this fail, the next Append comes here again: the size still says that the old file is full.
  errno = 0;
  absl::Status reopened = Reopen();
  if (!reopened.ok()) why_ = std::strerror(errno);
  return reopened.ok();
}

bool ConsoleLog::WriteGapNote() {
  std::string note = absl::StrCat("\n[umld: ", gap_, " bytes of this console are missing here: ", why_, "]\n");
  if (Write(note) != note.size()) return false;
  gap_ = 0;
  return true;
}

// How much of it could be written.
size_t ConsoleLog::Write(absl::string_view bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    ssize_t n = write(fd_.get(), bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      why_ = std::strerror(n < 0 ? errno : ENOSPC);
      break;
    }
    written += static_cast<size_t>(n);
  }
  size_ += written;
  return written;
}

}  // namespace umld::devices
