#include "umld/disk_details.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/disk/disk_reader.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/partition_table.h"

namespace umld {
namespace {

absl::Status Add(v1::Disk* disk) {
  // Not from its spec, which has a volume by its name.
  ASSIGN_OR_RETURN(const uint32_t unit, devices::ParseDiskName(disk->name().substr(disk->name().rfind('/') + 1)));
  const devices::DiskSpec spec = {unit, disk->flags(), disk->path(), disk->backing(), disk->serial()};
  ASSIGN_OR_RETURN(const devices::DiskReader reader, devices::DiskReader::Open(spec));
  disk->set_file_bytes(reader.file_bytes());
  if (disk->size_bytes() == 0) disk->set_size_bytes(reader.size_bytes());
  disk->set_padding_bytes(static_cast<uint32_t>(reader.size_bytes() - reader.file_bytes()));
  ASSIGN_OR_RETURN(const devices::PartitionTable table,
                   devices::ReadPartitionTable(reader.size_bytes(), [&reader](uint64_t offset, size_t size) {
                     return reader.Read(offset, size);
                   }));
  disk->set_partition_table(table.kind);
  for (const devices::Partition& partition : table.partitions) {
    v1::Partition* shown = disk->add_partitions();
    shown->set_name(absl::StrCat(devices::DiskName(spec.unit), partition.number));
    shown->set_start_bytes(partition.start_bytes);
    shown->set_size_bytes(partition.size_bytes);
    shown->set_type(partition.type);
    shown->set_type_id(partition.type_id);
    shown->set_label(partition.label);
  }
  return absl::OkStatus();
}

}  // namespace

void AddDiskDetails(const std::optional<Credentials>& opener, v1::Disk* disk) {
  if (absl::Status status = ActAs(opener, [disk] { return Add(disk); }); !status.ok())
    disk->set_problem(std::string(status.message()));
}

}  // namespace umld
