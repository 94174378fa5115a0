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

// Goes through a tar (ustar, GNU, pax; plain or packed once, by gzip, xz, zstd or bzip2) in this process, with
// libarchive and liblzma; nothing is written anywhere. What is unpacked may be endless: `may_go_on` is asked for every
// few hundred KiB of it, also of what the visitor does not read. kInvalidArgument BAD_ARCHIVE: it is none, is cut short
// or damaged, is packed twice, takes more than 256 MiB to unpack, or has more than 1 MiB of headers for one entry.
absl::Status ReadArchive(ByteSource& bytes, const EntryVisitor& visit, const MayGoOn& may_go_on);

// The same over a file, again and again. `fd` outlives it.
std::unique_ptr<EntrySource> ArchiveSource(int fd, MayGoOn may_go_on);

}  // namespace umld::image

#endif  // UMLD_IMAGE_ARCHIVE_READER_H_
