#include "devices/disk/partition_table.h"

#include <endian.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace umld::devices {
namespace {

constexpr uint64_t kSector = 512;
constexpr size_t kTableAt = 446, kEntryBytes = 16, kSignatureAt = 510;
// As the kernel: so many extended partitions in a row, whatever they hold.
constexpr int kMaxExtended = 100;
constexpr uint32_t kMaxGptEntryBytes = 4096;
constexpr uint32_t kMaxGptBytes = 64 * 1024;

template <typename T>
T Get(absl::string_view bytes, size_t at) {
  T value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  if constexpr (sizeof(T) == 2) return le16toh(value);
  if constexpr (sizeof(T) == 4) return le32toh(value);
  if constexpr (sizeof(T) == 8) return le64toh(value);
  return value;
}

struct MbrEntry {
  uint8_t flag = 0, type = 0;
  uint64_t start = 0, sectors = 0;  // `start` is relative to something
  bool extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

// nullopt: no such table in this sector.
std::optional<std::vector<MbrEntry>> ParseMbr(absl::string_view sector) {
  if (sector.size() < kSector || Get<uint16_t>(sector, kSignatureAt) != 0xaa55) return std::nullopt;
  std::vector<MbrEntry> entries;
  for (size_t i = 0; i < 4; ++i) {
    const size_t at = kTableAt + i * kEntryBytes;
    MbrEntry entry;
    entry.flag = Get<uint8_t>(sector, at);
    entry.type = Get<uint8_t>(sector, at + 4);
    entry.start = Get<uint32_t>(sector, at + 8);
    entry.sectors = Get<uint32_t>(sector, at + 12);
    // A boot sector of a filesystem has the same signature, and something else where the flags would be.
    if (entry.flag != 0 && entry.flag != 0x80) return std::nullopt;
    entries.push_back(entry);
  }
  return entries;
}

struct Name {
  const char* id;
  const char* name;
};
constexpr Name kNames[] = {
    {"01", "FAT12"},
    {"05", "Extended"},
    {"06", "FAT16"},
    {"07", "NTFS or exFAT"},
    {"0b", "FAT32"},
    {"0c", "FAT32 (LBA)"},
    {"0e", "FAT16 (LBA)"},
    {"0f", "Extended (LBA)"},
    {"82", "Linux swap"},
    {"83", "Linux"},
    {"85", "Linux extended"},
    {"8e", "Linux LVM"},
    {"a5", "FreeBSD"},
    {"a6", "OpenBSD"},
    {"a9", "NetBSD"},
    {"ee", "GPT"},
    {"ef", "EFI system"},
    {"fd", "Linux RAID"},
    {"0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux filesystem"},
    {"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"},
    {"e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"},
    {"a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"},
    {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"},
    {"933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"},
    {"bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux extended boot"},
    {"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"},
    {"21686148-6449-6e6f-744e-656564454649", "BIOS boot"},
    {"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"},
    {"e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"},
};

std::string TypeName(absl::string_view id) {
  for (const Name& name : kNames) {
    if (id == name.id) return name.name;
  }
  return "";
}

// `start` and `sectors` are known to fit: they have 32 bits each, or were compared.
void Add(uint32_t number, uint64_t start, uint64_t sectors, const std::string& type_id, std::string label,
         uint64_t disk_sectors, PartitionTable* table) {
  if (sectors == 0 || start >= disk_sectors || sectors > disk_sectors - start) return;
  if (table->partitions.size() >= kMaxPartitions) return;
  table->partitions.push_back(
      {number, start * kSector, sectors * kSector, type_id, TypeName(type_id), std::move(label)});
}

std::string MbrType(const MbrEntry& entry) { return absl::StrFormat("%02x", entry.type); }

// The chain of extended partitions that begins at sector `first`: each has a partition and a link to the next.
absl::Status ReadExtended(uint64_t first, uint64_t disk_sectors, const ReadAt& read, PartitionTable* table) {
  uint32_t number = 5;
  uint64_t at = first;
  for (int i = 0; i < kMaxExtended && at < disk_sectors; ++i) {
    ASSIGN_OR_RETURN(const std::string sector, read(at * kSector, kSector));
    const auto entries = ParseMbr(sector);
    if (!entries) break;
    uint64_t next = 0;
    for (const MbrEntry& entry : *entries) {
      if (entry.extended()) {
        if (next == 0 && entry.sectors != 0) next = first + entry.start;
      } else if (entry.sectors != 0) {
        Add(number, at + entry.start, entry.sectors, MbrType(entry), "", disk_sectors, table);
        ++number;
      }
    }
    // The kernel follows any link; one that leads back would only be counted again.
    if (next <= at) break;
    at = next;
  }
  return absl::OkStatus();
}

absl::Status ReadDos(const std::vector<MbrEntry>& entries, uint64_t disk_sectors, const ReadAt& read,
                     PartitionTable* table) {
  table->kind = "dos";
  for (uint32_t i = 0; i < entries.size(); ++i) {
    Add(i + 1, entries[i].start, entries[i].sectors, MbrType(entries[i]), "", disk_sectors, table);
  }
  for (const MbrEntry& entry : entries) {
    if (!entry.extended() || entry.sectors == 0) continue;
    RETURN_IF_ERROR(ReadExtended(entry.start, disk_sectors, read, table));
    break;
  }
  return absl::OkStatus();
}

uint32_t Crc32(absl::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  return ~crc;
}

std::string Guid(absl::string_view bytes, size_t at) {
  auto byte = [&](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(bytes[at + i])); };
  std::string tail;
  for (size_t i = 10; i < 16; ++i) absl::StrAppendFormat(&tail, "%02x", byte(i));
  return absl::StrFormat("%08x-%04x-%04x-%02x%02x-%s", Get<uint32_t>(bytes, at), Get<uint16_t>(bytes, at + 4),
                         Get<uint16_t>(bytes, at + 6), byte(8), byte(9), tail);
}

void AppendUtf8(uint32_t code, std::string* text) {
  if (code < 0x80) {
    text->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text->push_back(static_cast<char>(0xc0 | code >> 6));
    text->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else if (code < 0x10000) {
    text->push_back(static_cast<char>(0xe0 | code >> 12));
    text->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    text->push_back(static_cast<char>(0xf0 | code >> 18));
    text->push_back(static_cast<char>(0x80 | (code >> 12 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    text->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

// 36 units of UTF-16, ended by a zero.
std::string GptLabel(absl::string_view entry) {
  constexpr size_t kLabelAt = 56, kUnits = 36;
  std::string label;
  for (size_t i = 0; i < kUnits; ++i) {
    uint32_t code = Get<uint16_t>(entry, kLabelAt + 2 * i);
    if (code == 0) break;
    if (code >= 0xd800 && code < 0xe000) {
      const uint32_t low = code < 0xdc00 && i + 1 < kUnits ? Get<uint16_t>(entry, kLabelAt + 2 * (i + 1)) : 0;
      const bool pair = low >= 0xdc00 && low < 0xe000;
      code = pair ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
      i += pair ? 1 : 0;
    }
    AppendUtf8(code, &label);
  }
  return label;
}

// False: there is no valid GPT whose header is at that sector.
absl::StatusOr<bool> ReadGpt(uint64_t header_at, uint64_t disk_sectors, const ReadAt& read, PartitionTable* table) {
  ASSIGN_OR_RETURN(std::string header, read(header_at * kSector, kSector));
  if (header.size() < kSector || header.substr(0, 8) != "EFI PART") return false;
  const uint32_t header_bytes = Get<uint32_t>(header, 12), crc = Get<uint32_t>(header, 16);
  const uint64_t entries_at = Get<uint64_t>(header, 72);
  const uint32_t count = Get<uint32_t>(header, 80), entry_bytes = Get<uint32_t>(header, 84);
  if (header_bytes < 92 || header_bytes > kSector || Get<uint64_t>(header, 24) != header_at) return false;
  std::fill_n(header.begin() + 16, 4, '\0');
  if (Crc32(absl::string_view(header).substr(0, header_bytes)) != crc) return false;
  if (entry_bytes < 128 || entry_bytes > kMaxGptEntryBytes || count > kMaxGptBytes / entry_bytes) return false;
  if (entries_at >= disk_sectors) return false;
  ASSIGN_OR_RETURN(const std::string entries, read(entries_at * kSector, size_t{count} * entry_bytes));
  if (entries.size() < size_t{count} * entry_bytes || Crc32(entries) != Get<uint32_t>(header, 88)) return false;
  table->kind = "gpt";
  for (uint32_t i = 0; i < count; ++i) {
    const absl::string_view entry = absl::string_view(entries).substr(size_t{i} * entry_bytes, entry_bytes);
    const uint64_t first = Get<uint64_t>(entry, 32), last = Get<uint64_t>(entry, 40);
    if (entry.substr(0, 16).find_first_not_of('\0') == absl::string_view::npos) continue;
    if (first > last || last >= disk_sectors) continue;
    Add(i + 1, first, last - first + 1, Guid(entry, 0), GptLabel(entry), disk_sectors, table);
  }
  return true;
}

}  // namespace

absl::StatusOr<PartitionTable> ReadPartitionTable(uint64_t disk_bytes, const ReadAt& read) {
  PartitionTable table;
  const uint64_t disk_sectors = disk_bytes / kSector;
  if (disk_sectors < 2) return table;
  ASSIGN_OR_RETURN(const std::string start, read(0, kSector));
  const auto entries = ParseMbr(start);
  if (!entries) return table;
  const bool protective =
      std::any_of(entries->begin(), entries->end(), [](const MbrEntry& entry) { return entry.type == 0xee; });
  if (protective) {
    ASSIGN_OR_RETURN(bool found, ReadGpt(1, disk_sectors, read, &table));
    if (found) return table;
    ASSIGN_OR_RETURN(found, ReadGpt(disk_sectors - 1, disk_sectors, read, &table));
    if (found) return table;
  }
  RETURN_IF_ERROR(ReadDos(*entries, disk_sectors, read, &table));
  return table;
}

}  // namespace umld::devices
