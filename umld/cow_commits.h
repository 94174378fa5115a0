#ifndef UMLD_UMLD_COW_COMMITS_H_
#define UMLD_UMLD_COW_COMMITS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/operations.h"
#include "umld/v1/transfer.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// Writes COW files into their backing files. What has been begun cannot be given up: the next umld finishes it.
// Thread-safe; blocks on the disk.
class CowCommits {
 public:
  // All outlive it.
  CowCommits(state::Store* store, GuestTable* table, Operations* operations, Guests* guests, WorkerPool* pool)
      : store_(store), table_(table), operations_(operations), guests_(guests), pool_(pool) {}

  // Looks at both files, commits the intent and returns; the operation says how it ends.
  absl::StatusOr<OperationView> Begin(const v1::CommitDiskFileRequest& request, const Caller& caller);
  // One that an earlier umld left unfinished; false: it is no commit. After the guests were recovered.
  bool ResumeOperation(const state::OperationRow& operation);

 private:
  void Queue(const state::OperationRow& operation);
  absl::Status Run(const state::OperationRow& operation);

  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_COW_COMMITS_H_
