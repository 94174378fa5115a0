#include "umld/cow_risk.h"

#include <endian.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "devices/disk/partition_table.h"

namespace umld {
namespace {

constexpr uint64_t kPage = 4096;

absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t size) {
  std::string bytes(size, '\0');
  const ssize_t got = pread(fd, bytes.data(), size, static_cast<off_t>(offset));
  if (got < 0) return ErrnoError(errno, "read the disk");
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

uint16_t Number16(absl::string_view bytes, size_t at) {
  uint16_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof(number));
  return number;
}

// What the filesystem that begins there writes at once, where that is less than a page; empty: nothing of that kind.
std::string SmallUnits(int fd, uint64_t offset) {
  const absl::StatusOr<std::string> read = ReadAt(fd, offset, 2048);
  if (!read.ok() || read->size() < 2048) return "";
  const absl::string_view start = *read;
  constexpr size_t kSuper = 1024, kExtMagic = kSuper + 0x38, kExtLogBlock = kSuper + 0x18, kXfsSector = 102;
  if (le16toh(Number16(start, kExtMagic)) == 0xef53) {
    const auto log = static_cast<unsigned char>(start[kExtLogBlock]);
    return log < 2 ? absl::StrCat("ext with blocks of ", 1024 << log, " bytes") : "";
  }
  if (start.substr(0, 4) == "XFSB") {
    const uint16_t sector = be16toh(Number16(start, kXfsSector));
    return sector < kPage ? absl::StrCat("XFS with sectors of ", sector, " bytes") : "";
  }
  constexpr size_t kFatSector = 11, kFat16Name = 54, kFat32Name = 82;
  if (start.substr(kFat16Name, 3) == "FAT" || start.substr(kFat32Name, 3) == "FAT") {
    const uint16_t sector = le16toh(Number16(start, kFatSector));
    return sector < kPage ? absl::StrCat("FAT with sectors of ", sector, " bytes") : "";
  }
  return "";
}

}  // namespace

std::string CowRisk(int fd, uint64_t disk_bytes) {
  std::string why;
  const auto table =
      devices::ReadPartitionTable(disk_bytes, [fd](uint64_t offset, size_t size) { return ReadAt(fd, offset, size); });
  if (table.ok() && !table->kind.empty()) {
    for (const devices::Partition& partition : table->partitions) {
      if (partition.start_bytes % kPage != 0) {
        why = absl::StrCat("partition ", partition.number, " does not begin on a boundary of 4 KiB");
      } else if (const std::string small = SmallUnits(fd, partition.start_bytes); !small.empty()) {
        why = absl::StrCat("partition ", partition.number, " is ", small);
      }
      if (!why.empty()) break;
    }
  } else if (const std::string small = SmallUnits(fd, 0); !small.empty()) {
    why = absl::StrCat("it is ", small);
  }
  if (why.empty()) return why;
  return absl::StrCat("AT RISK: ", why, ", which Debian's UML kernel 6.1 may not read right through a COW file");
}

}  // namespace umld
