#ifndef UMLD_DEVICES_DISK_PARTITION_TABLE_H_
#define UMLD_DEVICES_DISK_PARTITION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace umld::devices {

// The partitions of a disk as a Linux kernel would number them. Why a reader of our own: the well-known libraries read
// from a file descriptor, and what a guest sees through a COW file is behind none.

struct Partition {
  uint32_t number = 0;       // ubdb1 is 1; logical ones begin at 5
  uint64_t start_bytes = 0;  // from the start of the disk
  uint64_t size_bytes = 0;
  std::string type_id;  // "83", or a GUID in lower case
  std::string type;     // "Linux"; empty: not one of those known here
  std::string label;    // of GPT: the partition's name, valid UTF-8, may hold control characters
  friend bool operator==(const Partition&, const Partition&) = default;
};

struct PartitionTable {
  std::string kind;                   // "dos", "gpt", or empty: the disk has none
  std::vector<Partition> partitions;  // at most kMaxPartitions; those that would end beyond the disk are left out
};

inline constexpr size_t kMaxPartitions = 128;

// Reads at most `size` bytes (never more than 64 KiB are asked for) at `offset`; fewer at the end of the disk.
using ReadAt = std::function<absl::StatusOr<std::string>(uint64_t offset, size_t size)>;

// MBR with its extended partitions, or GPT (the first copy, or the one at the disk's end when that is damaged). The
// bytes may be anything: reads a bounded amount, in bounded time. Errors are those of `read`.
absl::StatusOr<PartitionTable> ReadPartitionTable(uint64_t disk_bytes, const ReadAt& read);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_PARTITION_TABLE_H_
