#ifndef UMLD_IMAGE_ARCHIVE_READER_H_
#define UMLD_IMAGE_ARCHIVE_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "image/entry.h"

namespace umld::image {

// Bytes from front to back.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // At most `size`; 0: the end.
  virtual absl::StatusOr<size_t> Read(char* buffer, size_t size) = 0;
};

// The bytes of an open regular file, from its beginning, whatever its file position. `fd` outlives it.
class FdBytes final : public ByteSource {
 public:
  explicit FdBytes(int fd) : fd_(fd) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override;
  uint64_t position() const { return position_; }

 private:
  const int fd_;
  uint64_t position_ = 0;
};

// Goes through a tar (ustar, GNU, pax; plain or packed by gzip, xz, zstd, bzip2, lzma) in this process, with
// libarchive; nothing is written anywhere. kInvalidArgument BAD_ARCHIVE: it is none, or is cut short or damaged.
absl::Status ReadArchive(ByteSource& bytes, const EntryVisitor& visit);

// The same over a file, again and again. `fd` outlives it.
std::unique_ptr<EntrySource> ArchiveSource(int fd);

}  // namespace umld::image

#endif  // UMLD_IMAGE_ARCHIVE_READER_H_
