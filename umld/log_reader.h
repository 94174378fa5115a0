#ifndef UMLD_UMLD_LOG_READER_H_
#define UMLD_UMLD_LOG_READER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld {

// Reads a console log that another process appends to and rotates (NAME.log becomes NAME.log.1): oldest byte first,
// each byte once. Not thread-safe; blocks on the disk only. Errors as ErrnoError.
class LogReader {
 public:
  struct Part {
    std::string data;      // at most 32 KiB; empty: there is no more at present
    std::string position;  // what comes after `data`: for StartAfter, of any umld
    bool gap = false;      // between the part before, or the position begun after, and `data` something may be missing
  };

  explicit LogReader(std::string path) : path_(std::move(path)) {}

  // Begins so that only the last `lines` lines are read; 0: everything that is kept.
  absl::Status Start(uint32_t lines);
  // Begins where another reader was; with all that is kept, after a gap, if that place is not kept any more.
  // kInvalidArgument INVALID_POSITION.
  absl::Status StartAfter(absl::string_view position);
  absl::StatusOr<Part> Next();

 private:
  // A file, whatever its name becomes. Its inode's number may be another file's later, which was then born later.
  struct FileId {
    uint64_t inode = 0;
    int64_t birth_ns = 0;  // of the Unix epoch; 0: the file system does not tell
    bool operator==(const FileId& o) const { return inode == o.inode && birth_ns == o.birth_ns; }
  };
  struct File {
    UniqueFd fd;  // empty: there is no such file
    FileId id;    // {}: there is no such file
    off_t offset = 0;
  };
  struct Kept {
    File old, current;
    // The one with the oldest bytes.
    File& First() { return old.fd.ok() ? old : current; }
  };

  static absl::StatusOr<FileId> Identify(int folder_or_file, const std::string& path);
  static absl::StatusOr<File> Open(const std::string& path);
  absl::StatusOr<Kept> OpenKept() const;
  absl::StatusOr<bool> IsReplaced() const;
  absl::StatusOr<Part> ReadOn();
  absl::StatusOr<bool> GoToNextFile();

  const std::string path_;
  File file_;  // being read
  bool gap_ = false;
};

}  // namespace umld

#endif  // UMLD_UMLD_LOG_READER_H_
