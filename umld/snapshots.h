#ifndef UMLD_UMLD_SNAPSHOTS_H_
#define UMLD_UMLD_SNAPSHOTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/daemon_config.h"
#include "umld/event_log.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/operations.h"
#include "umld/v1/snapshots.pb.h"

namespace umld {

// The snapshots of this host: in STATE/snapshots/ID a whole copy of each writable disk of one guest, and the row that
// says whose they are. Work on a guest's disks is done in the guest's line. Thread-safe; blocks on the disk.
class Snapshots {
 public:
  // All outlive it.
  Snapshots(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations,
            EventLog* events, Guests* guests, GuestRuntime* runtime)
      : config_(config),
        store_(store),
        table_(table),
        operations_(operations),
        events_(events),
        guests_(guests),
        runtime_(runtime) {}

  // Removes the files that a killed umld left without a row. Before anything is begun.
  absl::Status RemoveLeftovers();
  // Finishes or undoes what an earlier daemon left unfinished, in the guest's line. False: it is about no snapshot.
  bool ResumeOperation(const state::OperationRow& operation);

  // Commit the intent and return; the operation says how it ends.
  absl::StatusOr<OperationView> Create(const v1::CreateSnapshotRequest& request);
  absl::StatusOr<OperationView> Restore(const v1::RestoreSnapshotRequest& request);
  absl::StatusOr<v1::ListSnapshotsResponse> List(const v1::ListSnapshotsRequest& request);
  absl::StatusOr<v1::Snapshot> Get(const std::string& name);
  // `done` is called in the guest's line.
  void Delete(const std::string& name, std::function<void(absl::Status)> done);

  // -- snapshot_export.cc: disks to be read by whoever takes them elsewhere.
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
  // An earlier umld was killed in that: the guest goes on. In the guest's line.
  void UndoCopyNow(const GuestPtr& guest, const state::OperationRow& operation);

 private:
  struct Found {
    GuestPtr guest;
    state::SnapshotRow row;
  };
  absl::StatusOr<Found> Find(const std::string& name);
  // As committed now; kNotFound.
  absl::StatusOr<state::SnapshotRow> Reload(uint64_t id);
  std::string Folder(uint64_t id) const;
  // In the runtime directory, as a pause ends with its host: we have paused the guest, and it is to go on.
  std::string PauseMarker(const GuestView& view) const;
  // In the snapshot's folder: all new disks are there, and take the places of the old ones.
  std::string RestoreMarker(uint64_t snapshot, uint64_t operation) const;

  absl::Status RunCreate(const GuestPtr& guest, const state::OperationRow& operation);
  absl::StatusOr<state::SnapshotRow> Make(const GuestPtr& guest, const state::OperationRow& operation);
  // Whether the guest's kernel said in time that all is written out.
  bool Sync(const GuestPtr& guest);
  absl::Status GoOn(const GuestPtr& guest);
  absl::Status RunRestore(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  absl::Status Stage(const GuestView& view, const state::SnapshotRow& snapshot, uint64_t operation);
  // Commits `change` with its event, and the outcome of `operation` if there is one.
  absl::Status Commit(const std::string& type, const GuestView& view, const std::string& snapshot,
                      const state::OperationRow* operation,
                      const std::function<absl::Status(state::Transaction&)>& change);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  EventLog* const events_;
  Guests* const guests_;
  GuestRuntime* const runtime_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOTS_H_
