#include "umld/snapshot_views.h"

#include "absl/strings/str_cat.h"
#include "devices/disk/disk_spec.h"
#include "google/protobuf/util/time_util.h"
#include "umld/operations.h"

namespace umld {

using google::protobuf::util::TimeUtil;

std::string SnapshotName(const GuestView& guest, const std::string& id) {
  return absl::StrCat(guest.name(), "/snapshots/", id);
}

SnapshotNames NamesOf(const std::vector<state::SnapshotRow>& rows) {
  SnapshotNames names;
  for (const state::SnapshotRow& row : rows) names[row.id] = row.name;
  return names;
}

v1::Snapshot ToProto(const state::SnapshotRow& row, const GuestView& guest, const SnapshotNames& names) {
  v1::Snapshot shown;
  shown.set_name(SnapshotName(guest, row.name));
  shown.set_description(row.description);
  *shown.mutable_create_time() = TimeUtil::NanosecondsToTimestamp(row.created_ns);
  *shown.mutable_paused() = TimeUtil::NanosecondsToDuration(row.paused_ns);
  *shown.mutable_together() = TimeUtil::NanosecondsToDuration(row.together_ns);
  shown.set_synced(row.synced);
  if (const auto parent = names.find(row.parent_id); parent != names.end()) {
    shown.set_parent(SnapshotName(guest, parent->second));
  }
  shown.set_current(guest.row.snapshot_id == row.id);
  shown.set_rotates(row.rotates);
  shown.mutable_left_out()->Assign(row.left_out.begin(), row.left_out.end());
  if (row.operation_id != 0) shown.set_operation(OperationName(row.operation_id));
  uint64_t allocated = 0;
  for (const state::SnapshotDiskRow& disk : row.disks) {
    v1::SnapshotDisk* one = shown.add_disks();
    one->set_device(devices::DiskName(disk.unit));
    one->set_path(disk.path);
    one->set_backing(disk.backing);
    one->set_size_bytes(disk.size_bytes);
    one->set_allocated_bytes(disk.allocated_bytes);
    allocated += disk.allocated_bytes;
  }
  shown.set_allocated_bytes(allocated);
  return shown;
}

}  // namespace umld
