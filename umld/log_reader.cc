#include "umld/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kChunk = 32 * 1024;

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

absl::StatusOr<LogReader::FileId> LogReader::Identify(int folder_or_file, const std::string& path) {
  struct statx info = {};
  if (statx(folder_or_file, path.c_str(), AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &info) != 0) {
    if (errno == ENOENT) return FileId{};
    return ErrnoError(errno, absl::StrCat("look at ", path));
  }
  FileId id;
  id.inode = info.stx_ino;
  if ((info.stx_mask & STATX_BTIME) != 0) {
    id.birth_ns = info.stx_btime.tv_sec * int64_t{1'000'000'000} + info.stx_btime.tv_nsec;
  }
  return id;
}

absl::StatusOr<LogReader::File> LogReader::Open(const std::string& path) {
  File file;
  file.fd.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.fd.ok()) {
    if (errno == ENOENT) return file;
    return ErrnoError(errno, absl::StrCat("open ", path));
  }
  ASSIGN_OR_RETURN(file.id, Identify(file.fd.get(), ""));
  return file;
}

// Both files as they were at one moment.
absl::StatusOr<LogReader::Kept> LogReader::OpenKept() const {
  while (true) {
    Kept kept;
    ASSIGN_OR_RETURN(kept.current, Open(path_));
    ASSIGN_OR_RETURN(kept.old, Open(path_ + ".1"));
    ASSIGN_OR_RETURN(const FileId now, Identify(AT_FDCWD, path_));
    if (now == kept.current.id) return kept;
  }
}

absl::Status LogReader::Start(uint32_t lines) {
  ASSIGN_OR_RETURN(Kept kept, OpenKept());
  uint32_t found = 0;
  if (lines > 0 && kept.current.fd.ok()) {
    kept.current.offset = OffsetOfLastLines(kept.current.fd.get(), lines, &found);
  }
  if (lines > 0 && found == lines) {
    file_ = std::move(kept.current);
    return absl::OkStatus();
  }
  if (lines > 0 && kept.old.fd.ok()) {
    uint32_t older = 0;
    kept.old.offset = OffsetOfLastLines(kept.old.fd.get(), lines - found, &older);
  }
  file_ = std::move(kept.First());
  return absl::OkStatus();
}

absl::Status LogReader::StartAfter(absl::string_view position) {
  const std::vector<absl::string_view> parts = absl::StrSplit(position, '.');
  FileId id;
  int64_t offset = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &id.inode) || !absl::SimpleAtoi(parts[1], &id.birth_ns) ||
      !absl::SimpleAtoi(parts[2], &offset) || offset < 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the position in the log is not one of ours",
                     {"INVALID_POSITION", "", "begin again without it"});
  }
  ASSIGN_OR_RETURN(Kept kept, OpenKept());
  for (File* file : {&kept.current, &kept.old}) {
    struct stat info = {};
    if (!file->fd.ok() || !(file->id == id) || fstat(file->fd.get(), &info) != 0 || info.st_size < offset) continue;
    file_ = std::move(*file);
    file_.offset = offset;
    return absl::OkStatus();
  }
  gap_ = true;
  file_ = std::move(kept.First());
  return absl::OkStatus();
}

// Whether another file has taken the name of the one being read, which nobody writes to from then on.
absl::StatusOr<bool> LogReader::IsReplaced() const {
  ASSIGN_OR_RETURN(const FileId now, Identify(AT_FDCWD, path_));
  return !(now == FileId{}) && !(now == file_.id);
}

absl::StatusOr<LogReader::Part> LogReader::ReadOn() {
  Part part;
  part.data.resize(kChunk);
  const ssize_t got = pread(file_.fd.get(), part.data.data(), part.data.size(), file_.offset);
  if (got < 0) return ErrnoError(errno, absl::StrCat("read ", path_));
  part.data.resize(static_cast<size_t>(got));
  if (got == 0) return part;
  file_.offset += got;
  part.position = absl::StrCat(file_.id.inode, ".", file_.id.birth_ns, ".", file_.offset);
  part.gap = std::exchange(gap_, false);
  return part;
}

// Whether there is a file after the one being read, which then takes its place.
absl::StatusOr<bool> LogReader::GoToNextFile() {
  ASSIGN_OR_RETURN(Kept kept, OpenKept());
  const bool is_old_one = file_.fd.ok() && kept.old.id == file_.id;
  File& next = is_old_one ? kept.current : kept.First();
  if (!next.fd.ok()) return false;
  // Replaced twice at least: there may have been others in between.
  if (file_.fd.ok() && !is_old_one) gap_ = true;
  file_ = std::move(next);
  return true;
}

absl::StatusOr<LogReader::Part> LogReader::Next() {
  bool complete = false;  // all of file_ was there when it was read last
  while (true) {
    if (file_.fd.ok()) {
      ASSIGN_OR_RETURN(Part part, ReadOn());
      if (!part.data.empty()) return part;
      if (!complete) {
        // If it is, something may have come between our reading and that.
        ASSIGN_OR_RETURN(complete, IsReplaced());
        if (complete) continue;
        return Part();
      }
    }
    ASSIGN_OR_RETURN(const bool more, GoToNextFile());
    if (!more) return Part();
    complete = false;
  }
}

}  // namespace umld
