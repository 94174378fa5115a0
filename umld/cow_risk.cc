#include "umld/cow_risk.h"

#include <endian.h>

#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace umld {
namespace {

constexpr uint64_t kPage = 4096;

uint16_t Number16(absl::string_view bytes, size_t at) {
  uint16_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof(number));
  return number;
}

// What the filesystem that begins there writes at once, where that is less than a page; empty: nothing of that kind.
std::string SmallUnits(const devices::ReadAt& read, uint64_t offset) {
  const absl::StatusOr<std::string> bytes = read(offset, 2048);
  if (!bytes.ok() || bytes->size() < 2048) return "";
  const absl::string_view start = *bytes;
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

std::string CowRisk(uint64_t disk_bytes, const devices::ReadAt& read) {
  std::string why;
  const auto table = devices::ReadPartitionTable(disk_bytes, read);
  if (table.ok() && !table->kind.empty()) {
    for (const devices::Partition& partition : table->partitions) {
      if (partition.start_bytes % kPage != 0) {
        why = absl::StrCat("partition ", partition.number, " does not begin on a boundary of 4 KiB");
      } else if (const std::string small = SmallUnits(read, partition.start_bytes); !small.empty()) {
        why = absl::StrCat("partition ", partition.number, " is ", small);
      }
      if (!why.empty()) break;
    }
  } else if (const std::string small = SmallUnits(read, 0); !small.empty()) {
    why = absl::StrCat("it is ", small);
  }
  if (why.empty()) return why;
  return absl::StrCat("AT RISK: ", why, ", which Debian's UML kernel 6.1 may not read right through a COW file");
}

}  // namespace umld
