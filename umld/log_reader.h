#ifndef UMLD_UMLD_LOG_READER_H_
#define UMLD_UMLD_LOG_READER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// Reads a console log that another process appends to and rotates (NAME.log becomes NAME.log.1): oldest byte first,
// each byte once. Not thread-safe; blocks on the disk only.
class LogReader {
 public:
  explicit LogReader(std::string path) : path_(std::move(path)) {}

  // Begins so that only the last `lines` lines are read; 0: everything that is kept.
  absl::Status Start(uint32_t lines);
  // The next at most 32 KiB; empty: there is no more at present.
  absl::StatusOr<std::string> Next();

 private:
  bool OpenCurrent();

  const std::string path_;
  UniqueFd file_;
  bool reading_old_ = false;  // file_ is NAME.log.1 as it was when we began
  uint64_t inode_ = 0;
};

}  // namespace umld

#endif  // UMLD_UMLD_LOG_READER_H_
