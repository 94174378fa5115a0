#ifndef UMLD_IMAGE_ENTRY_H_
#define UMLD_IMAGE_ENTRY_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::image {

// Called now and then with what is being done and how far that is, in bytes (total 0: unknown). An error from it ends
// the work with that error.
using StepProgress = std::function<absl::Status(const std::string& what, uint64_t done, uint64_t total)>;

// Asked now and then in work that may be long and cannot say how far it is; an error from it ends the work with that
// error. May be null.
using MayGoOn = std::function<absl::Status()>;

// What an archive or a folder says of one file of a root filesystem.
struct Entry {
  std::string path;  // as it stands there; nothing has been checked
  mode_t mode = 0;   // type and permissions
  uint32_t uid = 0, gid = 0;
  int64_t mtime = 0;
  uint32_t mtime_nsec = 0;
  uint64_t size = 0;              // of a regular file, as claimed
  uint32_t major = 0, minor = 0;  // of a device node
  std::string target;             // of a symbolic link
  std::string hard_link;          // not empty: only another name for that path, and nothing else here counts
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// The content of the entry that is being visited, front to back.
class EntryData {
 public:
  virtual ~EntryData() = default;
  struct Piece {
    uint64_t offset = 0;      // what lies between two pieces is a hole
    absl::string_view bytes;  // until the next call; empty: that was all
  };
  virtual absl::StatusOr<Piece> Next() = 0;
};

// Need not read the data.
using EntryVisitor = std::function<absl::Status(const Entry&, EntryData&)>;

// Something with entries that can be gone through again and again, and are then the same in the same order.
class EntrySource {
 public:
  virtual ~EntrySource() = default;
  virtual absl::Status ForEach(const EntryVisitor& visit) = 0;
  // How far the present ForEach is in what it reads; total 0: unknown.
  virtual std::pair<uint64_t, uint64_t> Position() const = 0;
};

}  // namespace umld::image

#endif  // UMLD_IMAGE_ENTRY_H_
