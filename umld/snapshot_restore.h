#ifndef UMLD_UMLD_SNAPSHOT_RESTORE_H_
#define UMLD_UMLD_SNAPSHOT_RESTORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "state/rows.h"

namespace umld {

// The disks of one guest on their way back to what they were in a snapshot. New files are made beside them (Stage),
// while the guest may still run on the old ones, and then take their places (Replace). Both can be done again after a
// kill in the middle. Everything is done as the user whose disk it is. In the guest's line; blocks on the disk.
class SnapshotRestore {
 public:
  // `folder` has the snapshot's files; `operation` makes the names of the new ones its own.
  SnapshotRestore(const state::GuestRow& guest, const state::SnapshotRow& snapshot, std::string folder,
                  uint64_t operation)
      : guest_(guest), snapshot_(snapshot), folder_(std::move(folder)), operation_(operation) {}

  // kFailedPrecondition DISKS_DIFFER: the guest has another file at one of the disks now.
  absl::Status Check() const;
  // Makes the new files, whole and synced, with the owners and modes of the old ones.
  absl::Status Stage() const;
  // All disks, or on an error none: those that were replaced by then get their old files back, and Discard is next.
  absl::Status Replace() const;
  // Removes what Stage made and Replace did not use.
  void Discard() const;

 private:
  // The guest's disk in the place of which the copy goes; null: it has another one there, or none.
  const state::DiskRow* DiskFor(const state::SnapshotDiskRow& wanted) const;
  std::string Staged(const state::DiskRow& disk) const;
  std::string Old(const state::DiskRow& disk) const;
  absl::Status StageDisk(const state::DiskRow& disk) const;
  absl::Status KeepOld(const state::DiskRow& disk) const;
  void PutBack(const state::DiskRow& disk) const;
  void RemoveOld() const;

  const state::GuestRow guest_;
  const state::SnapshotRow snapshot_;
  const std::string folder_;
  const uint64_t operation_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOT_RESTORE_H_
