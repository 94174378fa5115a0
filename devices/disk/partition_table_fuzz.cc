// libFuzzer's entry point for partition_table: any bytes are a disk, and reading it ends, reads little and says nothing
// impossible. partition_table_test calls it with damaged tables.
// Links with base/status.cc base/utf8.cc devices/disk/partition_table.cc
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "devices/disk/partition_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view disk(reinterpret_cast<const char*>(data), size);
  size_t reads = 0, bytes = 0;
  const auto table = umld::devices::ReadPartitionTable(size, [&](uint64_t offset, size_t wanted) {
    ++reads;
    bytes += wanted;
    if (wanted > 64 * 1024) abort();
    return absl::StatusOr<std::string>(std::string(offset < disk.size() ? disk.substr(offset, wanted) : ""));
  });
  if (!table.ok() || reads > 200 || bytes > 512 * 1024) abort();
  if (table->partitions.size() > umld::devices::kMaxPartitions) abort();
  for (const umld::devices::Partition& partition : table->partitions) {
    if (partition.size_bytes == 0 || partition.size_bytes > size) abort();
    if (partition.start_bytes > size - partition.size_bytes) abort();
  }
  return 0;
}
