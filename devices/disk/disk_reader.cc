#include "devices/disk/disk_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

constexpr uint64_t kSector = 512;

// What the file does not have reads as zeros, as it does to a kernel.
absl::Status ReadFull(const OpenDisk& disk, const std::string& path, uint64_t offset, size_t size, std::string* to) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    ssize_t n = pread(disk.fd.get(), bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("read ", path));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  to->append(bytes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DiskReader> DiskReader::Open(const DiskSpec& spec) {
  DiskReader reader;
  reader.path_ = spec.path;
  reader.backing_path_ = spec.backing;
  if (spec.backing.empty()) {
    ASSIGN_OR_RETURN(reader.file_, OpenDiskFile(spec.path, DiskAccess::kRead, /*shared=*/true));
    reader.file_bytes_ = reader.file_->size_bytes;
    return reader;
  }
  ASSIGN_OR_RETURN(reader.backing_, OpenDiskFile(spec.backing, DiskAccess::kRead, /*shared=*/true));
  reader.file_bytes_ = reader.backing_->size_bytes;
  absl::StatusOr<OpenDisk> cow = OpenDiskFile(spec.path, DiskAccess::kRead, /*shared=*/true);
  if (absl::IsNotFound(cow.status())) return reader;
  if (!cow.ok()) return cow.status();
  ASSIGN_OR_RETURN(const std::string start, ReadStart(*cow, spec.path, kCowHeaderBytes));
  auto header = ParseCowHeader(start);
  if (!header.ok()) return Annotate(header.status(), spec.path);
  if (!header->has_value() || (*header)->size != reader.file_bytes_) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(spec.path, " is no COW file of ", spec.backing, " as it is now"),
                     {"COW_MISMATCH", spec.path, "restore the backing file, or start with a new COW file"});
  }
  reader.layout_ = LayOutCow(**header);
  reader.file_ = *std::move(cow);
  return reader;
}

absl::StatusOr<bool> DiskReader::IsInCow(uint64_t sector) const {
  if (!file_.has_value()) return false;
  std::string byte;
  RETURN_IF_ERROR(ReadFull(*file_, path_, layout_.bitmap_offset + sector / 8, 1, &byte));
  return (static_cast<unsigned char>(byte[0]) >> (sector % 8) & 1U) != 0;
}

absl::StatusOr<std::string> DiskReader::Read(uint64_t offset, size_t size) const {
  if (offset >= size_bytes()) return std::string();
  size = static_cast<size_t>(std::min<uint64_t>(size, size_bytes() - offset));
  std::string bytes;
  if (!backing_.has_value()) {
    RETURN_IF_ERROR(ReadFull(*file_, path_, offset, size, &bytes));
    return bytes;
  }
  while (bytes.size() < size) {
    const uint64_t at = offset + bytes.size();
    const size_t piece = std::min<size_t>(size - bytes.size(), kSector - at % kSector);
    ASSIGN_OR_RETURN(const bool in_cow, IsInCow(at / kSector));
    RETURN_IF_ERROR(in_cow ? ReadFull(*file_, path_, layout_.data_offset + at, piece, &bytes)
                           : ReadFull(*backing_, backing_path_, at, piece, &bytes));
  }
  return bytes;
}

}  // namespace umld::devices
