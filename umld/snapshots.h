#ifndef UMLD_UMLD_SNAPSHOTS_H_
#define UMLD_UMLD_SNAPSHOTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/operations.h"
#include "umld/snapshot_taker.h"
#include "umld/v1/snapshots.pb.h"
#include "umld/volume_catalog.h"

namespace umld {

absl::Status NoSuchSnapshot(absl::string_view guest, absl::string_view id);

// The snapshots of this host: in STATE/snapshots/ID a whole copy of each writable disk of one guest, and the row that
// says whose they are. Work on a guest's disks is done in the guest's line. Thread-safe; blocks on the disk.
class Snapshots {
 public:
  // All outlive it.
  Snapshots(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations, Guests* guests,
            GuestRuntime* runtime, VolumeCatalog* volumes)
      : config_(config),
        store_(store),
        table_(table),
        operations_(operations),
        guests_(guests),
        volumes_(volumes),
        taker_(config, store, table, operations, guests, runtime, volumes) {}

  // Removes the files that a killed umld left without a row. Before anything is begun.
  absl::Status RemoveLeftovers();
  // Finishes or undoes what an earlier daemon left unfinished, in the guests' lines. False: it is about no snapshot.
  bool ResumeOperation(const state::OperationRow& operation);

  // Commit the intent and return; the operation says how it ends.
  absl::StatusOr<OperationView> Create(const v1::CreateSnapshotRequest& request);
  absl::StatusOr<OperationView> CreateSet(const v1::CreateSnapshotsRequest& request);
  absl::StatusOr<OperationView> Restore(const v1::RestoreSnapshotRequest& request, const Caller& caller);
  absl::StatusOr<v1::ListSnapshotsResponse> List(const v1::ListSnapshotsRequest& request);
  absl::StatusOr<v1::Snapshot> Get(const std::string& name);
  // `done` is called in the guest's line.
  void Delete(const std::string& name, std::function<void(absl::Status)> done);

  // -- snapshot_export.cc: disks for who takes them elsewhere.
  // In the guest's line: copies its writable disks, as Create does, to SnapshotDir of the row's id,
  // which is the caller's from then on: without a row it is removed at the next start. kFailedPrecondition NO_DISKS.
  absl::StatusOr<state::SnapshotRow> CopyDisks(const GuestPtr& guest, const state::OperationRow& operation);
  // In the guest's line: it goes on if an earlier daemon has paused it to copy its disks.
  void GoOnIfPaused(const GuestPtr& guest);
  struct OpenDisk {
    state::SnapshotDiskRow row;
    UniqueFd fd;
  };
  struct OpenDisks {
    std::vector<OpenDisk> disks;
    bool synced = true;
  };
  // Those of a snapshot; it may be deleted meanwhile.
  absl::StatusOr<OpenDisks> Open(const std::string& name);
  // A copy of the guest's writable disks as a snapshot would have them now, in files that are nobody else's and gone
  // when they are closed. `operation` has been begun for it. In the guest's line.
  absl::StatusOr<OpenDisks> CopyNow(const GuestPtr& guest, const state::OperationRow& operation);

 private:
  struct Found {
    GuestPtr guest;
    state::SnapshotRow row;
    std::vector<state::SnapshotRow> all;  // that the guest has
  };
  absl::StatusOr<Found> Find(const std::string& name);
  // As committed now; kNotFound.
  absl::StatusOr<state::SnapshotRow> Reload(const GuestView& view, uint64_t id);

  // Snapshots of all of these, with the name and so on of `wanted`, which has a guest when it is about one alone.
  absl::StatusOr<OperationView> Begin(const std::vector<GuestPtr>& guests, v1::CreateSnapshotRequest wanted);
  absl::StatusOr<std::vector<GuestPtr>> Select(const v1::CreateSnapshotsRequest& request) const;
  absl::Status RunCreate(const std::vector<GuestPtr>& guests, const state::OperationRow& operation);
  absl::Status CommitSet(const std::vector<GuestPtr>& guests, const std::vector<state::SnapshotRow>& made,
                         uint32_t keep, const state::OperationRow& operation);
  // The guest's rotating snapshots, but for the newest, when one more comes to them.
  absl::StatusOr<std::vector<state::SnapshotRow>> Expired(uint64_t guest_id, uint32_t keep);
  void UndoCreate(const state::OperationRow& operation);

  struct RestoreStep;
  absl::Status RunRestore(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  // Commits how far it is.
  absl::Status Note(state::OperationRow operation, const RestoreStep& step);
  absl::Status BeginRestore(const GuestPtr& guest, const state::SnapshotRow& snapshot, RestoreStep& step,
                            const state::OperationRow& operation);
  absl::Status ReplaceDisks(const GuestPtr& guest, const state::SnapshotRow& snapshot, RestoreStep& step,
                            const state::OperationRow& operation);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  VolumeCatalog* const volumes_;
  SnapshotTaker taker_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOTS_H_
