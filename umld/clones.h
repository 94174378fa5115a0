#ifndef UMLD_UMLD_CLONES_H_
#define UMLD_UMLD_CLONES_H_

#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/kernel_catalog.h"
#include "umld/operations.h"
#include "umld/snapshots.h"
#include "umld/v1/clones.pb.h"
#include "umld/volume_catalog.h"
#include "umld/worker_pool.h"

namespace umld {

// New guests from the disks of others. All of one is made in STATE/clones/ID, with the operation's id: its disks, and
// what its identity is changed with (umld/identity.h). At the end the folder of its disks becomes the guest's state
// folder within the transaction that commits row and outcome; until then no list knows the guest.
// The disks are copied in the source's line; all later is beside it. Thread-safe; blocks on the disk.
class Clones {
 public:
  // All outlive it.
  Clones(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations, Guests* guests,
         GuestRuntime* runtime, KernelCatalog* catalog, VolumeCatalog* volumes, Snapshots* snapshots, WorkerPool* pool)
      : config_(config),
        store_(store),
        table_(table),
        operations_(operations),
        guests_(guests),
        runtime_(runtime),
        catalog_(catalog),
        volumes_(volumes),
        snapshots_(snapshots),
        pool_(pool) {}

  // Ends and removes what a killed umld left half made. Before anything is begun; the guests have been loaded.
  void RemoveLeftovers();
  // Undoes what an earlier daemon left unfinished, in the source's line. False: it is about no clone.
  bool ResumeOperation(const state::OperationRow& operation);

  // Commits the intent and returns; the operation says how it ends.
  absl::StatusOr<OperationView> Clone(const v1::CloneGuestRequest& request, const Caller& caller);
  absl::StatusOr<v1::CloneReport> Report(const std::string& operation);

 private:
  struct Work;
  using WorkPtr = std::shared_ptr<Work>;

  std::string Folder(uint64_t operation) const;
  std::string RunFolder(uint64_t operation) const;
  absl::StatusOr<WorkPtr> Prepare(const v1::CloneGuestRequest& request, const Caller& caller);
  // kNotFound: it has been deleted. Without `work.snapshot_id`: none is meant.
  absl::StatusOr<state::SnapshotRow> SnapshotOf(const Work& work) const;
  // Reads the source as it is now.
  absl::Status Plan(const GuestPtr& source, Work* work);
  absl::Status Copy(const GuestPtr& source, Work* work);
  absl::Status Complete(Work* work);
  absl::Status ChangeIdentity(Work* work);
  absl::Status Commit(Work* work);
  void End(const WorkPtr& work, const absl::Status& status);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  GuestRuntime* const runtime_;
  KernelCatalog* const catalog_;
  VolumeCatalog* const volumes_;
  Snapshots* const snapshots_;
  WorkerPool* const pool_;
  absl::Mutex mutex_;
  std::set<std::string> names_ ABSL_GUARDED_BY(mutex_);  // of the guests that are being made
};

}  // namespace umld

#endif  // UMLD_UMLD_CLONES_H_
