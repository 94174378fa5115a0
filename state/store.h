#ifndef UMLD_STATE_STORE_H_
#define UMLD_STATE_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/rows.h"
#include "state/transaction.h"

namespace umld::state {

// The database of one umld: what is wanted. WAL, synchronous=FULL: what Commit returned OK for is on disk. Some MiB are
// set aside for it, where the filesystem can, so that commits go on when the disk is full.
// Thread-safe; one writer at a time. Blocks on the disk.
class Store {
 public:
  // Opens or makes the database at `path` and brings its schema up to date.
  // kFailedPrecondition NEWER_DATABASE: it was written by a newer umld; it is not touched.
  // kFailedPrecondition FOREIGN_DATABASE: another program's; it is not touched.
  // kDataLoss CORRUPT_DATABASE: SQLite cannot read it; it is not touched.
  // kResourceExhausted DISK_FULL, kFailedPrecondition READ_ONLY_FILESYSTEM, kPermissionDenied: as the host says.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path);
  virtual ~Store() = default;

  // Runs `body` in one transaction and commits it durably. Any error from `body` or from the disk leaves the database
  // as it was and is returned with its code kept. So does an error of the transaction that `body` swallows. `body` may
  // read from the store (it sees what was committed before), but calling Commit or Prune in it would wait for ever.
  virtual absl::Status Commit(const std::function<absl::Status(Transaction&)>& body) = 0;

  virtual absl::StatusOr<std::vector<GuestRow>> LoadGuests() = 0;                           // by name
  virtual absl::StatusOr<std::vector<ImageRow>> LoadImages() = 0;                           // by digest
  virtual absl::StatusOr<std::vector<KernelRow>> LoadKernels() = 0;                         // by name
  virtual absl::StatusOr<std::vector<VolumeRow>> LoadVolumes() = 0;                         // by name
  virtual absl::StatusOr<std::vector<PoolRow>> LoadPools() = 0;                             // by kernel and memory
  virtual absl::StatusOr<std::vector<SnapshotRow>> LoadSnapshots() = 0;                     // oldest first
  virtual absl::StatusOr<std::vector<SnapshotRow>> LoadSnapshotsOf(uint64_t guest_id) = 0;  // oldest first
  virtual absl::StatusOr<std::vector<OperationRow>> LoadUnfinishedOperations() = 0;         // oldest first
  virtual absl::StatusOr<std::optional<OperationRow>> FindOperation(uint64_t id) = 0;
  virtual absl::StatusOr<std::optional<OperationRow>> FindOperationByRequestId(absl::string_view request_id) = 0;
  // Newest first, at most `limit`, with an id below `before_id` (0: no bound).
  virtual absl::StatusOr<std::vector<OperationRow>> ListOperations(uint64_t before_id, int limit,
                                                                   bool unfinished_only) = 0;
  // Oldest first, at most `limit`, with a sequence above `after`.
  virtual absl::StatusOr<std::vector<EventRow>> ListEvents(uint64_t after, int limit) = 0;
  // First and last sequence kept; {0, 0} when there are none. What Prune has dropped may lie between them.
  virtual absl::StatusOr<std::pair<uint64_t, uint64_t>> EventRange() = 0;
  // Drops operations done before `operations_before_ns`, and events until `events` are left, in one commit: first the
  // oldest of each guest (image, ...) that has more than its share, so that one that makes many pushes its own out;
  // then the oldest of all. The newest stays, unless `events` is 0.
  virtual absl::Status Prune(uint64_t events, int64_t operations_before_ns) = 0;
  // One trivial read: whether the database still answers.
  virtual absl::Status Ping() = 0;
};

}  // namespace umld::state

#endif  // UMLD_STATE_STORE_H_
