#ifndef UMLD_UMLD_ARCHIVE_WRITER_H_
#define UMLD_UMLD_ARCHIVE_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "image/sha256.h"
#include "umld/archive_format.h"
#include "umld/v1/transfer.pb.h"

namespace umld {

// The parts of a file that are no holes, at most kMaxExtents: of a file with more, small holes between them count as
// used. Blocks on the disk.
absl::StatusOr<std::vector<Extent>> UsedExtents(int fd, uint64_t size);

// A guest's archive, made piece by piece as somebody takes it: nothing is kept but one piece. Thread: one at a time;
// blocks on the disk.
class ArchiveWriter {
 public:
  // A file for the archive, which nobody changes meanwhile. As the manifest names it, in the manifest's order.
  struct File {
    std::string name;
    UniqueFd fd;
    uint64_t size = 0;
  };
  static absl::StatusOr<ArchiveWriter> Create(const v1::GuestArchive& manifest, std::vector<File> files);

  // Of the whole archive; known from the beginning.
  uint64_t total_bytes() const { return total_; }
  // The next bytes, about one MiB; empty: that was all. kAborted: a file became shorter.
  absl::StatusOr<std::string> Next();

 private:
  struct Member {
    File file;
    std::string header, map;
    std::vector<Extent> extents;
    uint64_t stored = 0;
  };
  ArchiveWriter() = default;

  // Appends the next part to `piece`.
  absl::Status Produce(std::string* piece);
  void AppendDocument(const std::string& name, const std::string& text, std::string* piece);

  std::vector<Member> members_;
  std::string manifest_;
  int64_t time_ = 0;
  uint64_t total_ = 0;

  v1::ArchiveChecksums sums_;
  image::Sha256 sha_;
  bool begun_ = false, done_ = false;
  std::string pending_;  // produced, and not yet taken: a map may be long
  size_t member_ = 0;    // of members_; behind them come the checksums
  bool in_member_ = false;
  size_t extent_ = 0;
  uint64_t extent_done_ = 0;
};

}  // namespace umld

#endif  // UMLD_UMLD_ARCHIVE_WRITER_H_
