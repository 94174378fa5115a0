#include "umld/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kChunk = 32 * 1024;

uint64_t InodeOf(int fd) {
  struct stat info = {};
  return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

// The offset from which the last `lines` lines of a file follow; `found` gets how many there are, at most `lines`.
off_t OffsetOfLastLines(int fd, uint32_t lines, uint32_t* found) {
  struct stat info = {};
  *found = 0;
  if (fstat(fd, &info) != 0) return 0;
  char buffer[4096];
  off_t end = info.st_size;
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(sizeof(buffer)));
    const ssize_t got = pread(fd, buffer, static_cast<size_t>(end - begin), begin);
    if (got <= 0) return 0;
    for (ssize_t i = got - 1; i >= 0; --i) {
      // The newline that ends the file ends a line; every other one begins the line after it.
      if (buffer[i] != '\n' || begin + i + 1 == info.st_size) continue;
      if (++*found == lines) return begin + i + 1;
    }
    end = begin;
  }
  if (info.st_size > 0) ++*found;
  return 0;
}

}  // namespace

bool LogReader::OpenCurrent() {
  reading_old_ = false;
  file_.reset(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  inode_ = file_.ok() ? InodeOf(file_.get()) : 0;
  return file_.ok();
}

absl::Status LogReader::Start(uint32_t lines) {
  UniqueFd old(open((path_ + ".1").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  OpenCurrent();
  if (!file_.ok() && errno != ENOENT) return ErrnoError(errno, absl::StrCat("open ", path_));
  uint32_t found = 0;
  if (lines > 0 && file_.ok()) {
    const off_t offset = OffsetOfLastLines(file_.get(), lines, &found);
    lseek(file_.get(), offset, SEEK_SET);
    if (found >= lines) return absl::OkStatus();
  }
  if (!old.ok()) return absl::OkStatus();
  if (lines > 0) {
    uint32_t older = 0;
    lseek(old.get(), OffsetOfLastLines(old.get(), lines - found, &older), SEEK_SET);
  }
  file_ = std::move(old);
  reading_old_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> LogReader::Next() {
  while (true) {
    if (!file_.ok() && !OpenCurrent()) return std::string();
    std::string chunk(kChunk, '\0');
    const ssize_t got = read(file_.get(), chunk.data(), chunk.size());
    if (got < 0) return ErrnoError(errno, absl::StrCat("read ", path_));
    if (got > 0) {
      chunk.resize(static_cast<size_t>(got));
      return chunk;
    }
    // At the end: go on with the file that has taken this one's place, if one has.
    if (!reading_old_) {
      struct stat now = {};
      if (stat(path_.c_str(), &now) != 0 || now.st_ino == inode_) return std::string();
    }
    if (!OpenCurrent()) return std::string();
  }
}

}  // namespace umld
