#include "umld/disk_details.h"

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "devices/disk/disk_reader.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"
#include "devices/disk/partition_table.h"
#include "kernel/kernel_features.h"
#include "kernel/kernel_reader.h"
#include "umld/cow_risk.h"

namespace umld {
namespace {

constexpr char kWayOut[] =
    "; make its filesystems with blocks of 4 KiB, on boundaries of 4 KiB, or give the guest the kernel of `umlctl "
    "kernel "
    "build`, which reads it right";

// What kernels were found to be. To read one takes tens of milliseconds, and a host has few. Thread-safe.
class KnownKernels {
 public:
  // As whoever calls: what a guest's own path leads to may be anything.
  absl::StatusOr<bool> ReadCowRight(const std::string& path) {
    ASSIGN_OR_RETURN(const devices::OpenDisk file,
                     devices::OpenDiskFile(path, devices::DiskAccess::kRead, /*shared=*/true));
    const struct stat& info = file.info;
    if (!S_ISREG(info.st_mode)) return false;
    // Tells one content of a file from the next.
    const Identity identity = {static_cast<int64_t>(info.st_dev),
                               static_cast<int64_t>(info.st_ino),
                               info.st_size,
                               info.st_mtim.tv_sec,
                               info.st_mtim.tv_nsec,
                               info.st_ctim.tv_sec,
                               info.st_ctim.tv_nsec};
    {
      absl::MutexLock lock(&mutex_);
      if (const auto known = known_.find(identity); known != known_.end()) return known->second;
    }
    ASSIGN_OR_RETURN(const kernel::KernelText text, kernel::ReadKernel(file.fd.get(), path));
    absl::MutexLock lock(&mutex_);
    if (known_.size() >= kMost) known_.clear();
    return known_[identity] = kernel::ReadsCowRight(text);
  }

 private:
  using Identity = std::array<int64_t, 7>;
  static constexpr size_t kMost = 64;

  absl::Mutex mutex_;
  std::map<Identity, bool> known_ ABSL_GUARDED_BY(mutex_);
};

absl::Status Add(v1::Disk* disk) {
  // Not from its spec, which has a volume by its name.
  ASSIGN_OR_RETURN(const uint32_t unit, devices::ParseDiskName(disk->name().substr(disk->name().rfind('/') + 1)));
  const devices::DiskSpec spec = {unit, disk->flags(), disk->path(), disk->backing(), disk->serial()};
  ASSIGN_OR_RETURN(const devices::DiskReader reader, devices::DiskReader::Open(spec));
  disk->set_file_bytes(reader.file_bytes());
  if (disk->size_bytes() == 0) disk->set_size_bytes(reader.size_bytes());
  disk->set_padding_bytes(static_cast<uint32_t>(reader.size_bytes() - reader.file_bytes()));
  const auto read = [&reader](uint64_t offset, size_t size) { return reader.Read(offset, size); };
  ASSIGN_OR_RETURN(const devices::PartitionTable table, devices::ReadPartitionTable(reader.size_bytes(), read));
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
  if (!spec.backing.empty()) disk->set_risk(CowRisk(reader.size_bytes(), read));
  return absl::OkStatus();
}

}  // namespace

void AddDiskDetails(const std::optional<Credentials>& opener, const v1::Guest& guest, v1::Disk* disk) {
  if (absl::Status status = ActAs(opener, [disk] { return Add(disk); }); !status.ok())
    disk->set_problem(std::string(status.message()));
  if (disk->risk().empty()) return;
  static auto* const kernels = new KnownKernels;
  const bool has_name = guest.kernel_in_use() != guest.kernel_path();
  const absl::StatusOr<bool> right =
      ActAs(has_name ? std::nullopt : opener, [&guest] { return kernels->ReadCowRight(guest.kernel_path()); });
  if (right.ok() && *right) {
    disk->clear_risk();
  } else {
    disk->set_risk(disk->risk() + kWayOut);
  }
}

}  // namespace umld
