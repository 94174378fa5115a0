#ifndef UMLD_STATE_SQLITE_READER_H_
#define UMLD_STATE_SQLITE_READER_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/database.h"
#include "state/rows.h"

namespace umld::state {

// Rows read on one connection; meanings, order and bounds as in Store. Each call sees one moment of the database.
// Thread and blocking: as the Database. kDataLoss CORRUPT_DATABASE: a row that cannot have been written by umld.
absl::StatusOr<std::vector<GuestRow>> ReadGuests(Database& database);
absl::StatusOr<std::vector<ImageRow>> ReadImages(Database& database);
absl::StatusOr<std::vector<KernelRow>> ReadKernels(Database& database);
absl::StatusOr<std::vector<VolumeRow>> ReadVolumes(Database& database);
absl::StatusOr<std::vector<PoolRow>> ReadPools(Database& database);
// Of one guest, or (0) of all.
absl::StatusOr<std::vector<SnapshotRow>> ReadSnapshots(Database& database, uint64_t guest_id);
absl::StatusOr<std::vector<OperationRow>> ReadUnfinishedOperations(Database& database);
absl::StatusOr<std::optional<OperationRow>> ReadOperation(Database& database, uint64_t id);
absl::StatusOr<std::optional<OperationRow>> ReadOperationByRequestId(Database& database, absl::string_view request_id);
absl::StatusOr<std::vector<OperationRow>> ReadOperations(Database& database, uint64_t before_id, int limit,
                                                         bool unfinished_only);
absl::StatusOr<std::vector<EventRow>> ReadEvents(Database& database, uint64_t after, int limit);
absl::StatusOr<std::pair<uint64_t, uint64_t>> ReadEventRange(Database& database);

}  // namespace umld::state

#endif  // UMLD_STATE_SQLITE_READER_H_
