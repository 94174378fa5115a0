#include "devices/disk/cow_content.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kBitmapChunk = 64 << 10;  // of the bitmap: 256 MiB of the disk
constexpr uint64_t kCopyChunk = 1 << 20;

absl::Status BadCow(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the COW file ", why),
                   {"COW_INVALID", "", "restore the COW file, or begin with a new one"});
}

absl::StatusOr<size_t> ReadAt(int fd, char* buffer, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(fd, buffer + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read the COW file");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

absl::Status WriteAt(int fd, const char* bytes, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t written = pwrite(fd, bytes, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, "write the disk");
    bytes += written;
    size -= static_cast<size_t>(written);
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

// Calls `take` with each run of sectors that are in the COW file, in order. Holes of the bitmap are skipped.
absl::Status ForEachRun(int cow, const CowHeader& header,
                        const std::function<absl::Status(uint64_t first, uint64_t count)>& take) {
  const CowLayout layout = LayOutCow(header);
  const uint64_t sectors = (header.size + kSector - 1) / kSector;
  const off_t end = lseek(cow, 0, SEEK_END);
  if (end < 0) return ErrnoError(errno, "size the COW file");
  if (static_cast<uint64_t>(end) < layout.bitmap_offset + layout.bitmap_bytes) return BadCow("ends within its bitmap");
  std::vector<unsigned char> bits(kBitmapChunk);
  uint64_t first = 0, count = 0;
  for (uint64_t at = 0; at < layout.bitmap_bytes;) {
    const off_t data = lseek(cow, static_cast<off_t>(layout.bitmap_offset + at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data >= 0) at = std::max(at, static_cast<uint64_t>(data) - layout.bitmap_offset);
    if (at >= layout.bitmap_bytes) break;
    const size_t size = std::min<uint64_t>(kBitmapChunk, layout.bitmap_bytes - at);
    ASSIGN_OR_RETURN(const size_t got,
                     ReadAt(cow, reinterpret_cast<char*>(bits.data()), size, layout.bitmap_offset + at));
    if (got < size) return BadCow("ends within its bitmap");
    for (size_t i = 0; i < size; ++i) {
      if (bits[i] == 0) continue;
      for (unsigned bit = 0; bit < 8; ++bit) {
        if ((bits[i] >> bit & 1) == 0) continue;
        const uint64_t sector = (at + i) * 8 + bit;
        if (sector >= sectors) return BadCow("has sectors behind the end of its disk");
        if (count > 0 && first + count == sector) {
          ++count;
          continue;
        }
        if (count > 0) RETURN_IF_ERROR(take(first, count));
        first = sector;
        count = 1;
      }
    }
    at += size;
  }
  return count > 0 ? take(first, count) : absl::OkStatus();
}

bool IsZero(const char* bytes, size_t size) { return bytes[0] == '\0' && std::memcmp(bytes, bytes + 1, size - 1) == 0; }

// Nothing is there: reading gives zeros.
bool IsHole(int fd, uint64_t offset, uint64_t size) {
  const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  return data < 0 ? errno == ENXIO : static_cast<uint64_t>(data) >= offset + size;
}

absl::Status Sync(int fd, absl::string_view what) {
  return fsync(fd) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync the ", what));
}

// The backing file has been written to: its time in the header, or the kernel would refuse the two.
absl::Status StampCow(int cow, CowHeader header, int backing) {
  struct stat info = {};
  if (fstat(backing, &info) != 0) return ErrnoError(errno, "stat the backing file");
  if (info.st_mtime < 0 || info.st_mtime > std::numeric_limits<uint32_t>::max()) {
    return BadCow("cannot hold the modification time that its backing file has");
  }
  header.mtime = static_cast<uint32_t>(info.st_mtime);
  const std::string bytes = SerializeCowHeader(header);
  RETURN_IF_ERROR(WriteAt(cow, bytes.data(), bytes.size(), 0));
  return Sync(cow, "COW file");
}

absl::Status Free(int fd, uint64_t begin, uint64_t end) {
  if (begin >= end) return absl::OkStatus();
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return fallocate(fd, mode, static_cast<off_t>(begin), static_cast<off_t>(end - begin)) == 0
             ? absl::OkStatus()
             : ErrnoError(errno, "free the COW file's blocks");
}

absl::Status ClearBitmap(int cow, const CowLayout& layout) {
  if (Free(cow, layout.bitmap_offset, layout.bitmap_offset + layout.bitmap_bytes).ok()) return absl::OkStatus();
  // A filesystem that makes no holes.
  const std::vector<char> zeros(kBitmapChunk);
  for (uint64_t at = 0; at < layout.bitmap_bytes; at += zeros.size()) {
    const size_t size = std::min<uint64_t>(zeros.size(), layout.bitmap_bytes - at);
    RETURN_IF_ERROR(WriteAt(cow, zeros.data(), size, layout.bitmap_offset + at));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> CountCowSectors(int cow, const CowHeader& header) {
  uint64_t sectors = 0;
  RETURN_IF_ERROR(ForEachRun(cow, header, [&](uint64_t, uint64_t count) {
    sectors += count;
    return absl::OkStatus();
  }));
  return sectors;
}

absl::Status MergeCow(int cow, const CowHeader& header, int into,
                      const std::function<absl::Status(uint64_t done, uint64_t total)>& progress) {
  const uint64_t data_offset = LayOutCow(header).data_offset;
  std::vector<char> buffer(kCopyChunk);
  return ForEachRun(cow, header, [&](uint64_t first, uint64_t count) -> absl::Status {
    uint64_t at = first * kSector;
    const uint64_t end = std::min((first + count) * kSector, header.size);
    while (at < end) {
      if (progress) RETURN_IF_ERROR(progress(at, header.size));
      const size_t size = std::min<uint64_t>(buffer.size(), end - at);
      ASSIGN_OR_RETURN(const size_t got, ReadAt(cow, buffer.data(), size, data_offset + at));
      // A guest that trims its disk leaves its last sectors a hole, and the file may end before them.
      std::fill(buffer.begin() + static_cast<ptrdiff_t>(got), buffer.begin() + static_cast<ptrdiff_t>(size), '\0');
      if (!IsZero(buffer.data(), size) || !IsHole(into, at, size)) {
        RETURN_IF_ERROR(WriteAt(into, buffer.data(), size, at));
      }
      at += size;
    }
    return absl::OkStatus();
  });
}

absl::Status CommitCow(int cow, CowHeader header, int backing,
                       const std::function<absl::Status(uint64_t done, uint64_t total)>& progress) {
  absl::Status merged = MergeCow(cow, header, backing, progress);
  if (absl::Status synced = Sync(backing, "backing file"); merged.ok()) merged = synced;
  // What lies under a sector that the COW file has is seen by nobody, so the two are as good as they were.
  const absl::Status stamped = StampCow(cow, header, backing);
  RETURN_IF_ERROR(merged);
  RETURN_IF_ERROR(stamped);
  // From here on a bit that is gone uncovers the same data. All bits go before any data.
  const CowLayout layout = LayOutCow(header);
  RETURN_IF_ERROR(ClearBitmap(cow, layout));
  RETURN_IF_ERROR(Sync(cow, "COW file"));
  struct stat info = {};
  if (fstat(cow, &info) == 0) Free(cow, layout.data_offset, static_cast<uint64_t>(info.st_size)).IgnoreError();
  return absl::OkStatus();
}

}  // namespace umld::devices
