#ifndef UMLD_STATE_SQLITE_TRANSACTION_H_
#define UMLD_STATE_SQLITE_TRANSACTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/database.h"
#include "state/rows.h"
#include "state/transaction.h"

namespace umld::state {

// Writes rows on a connection on which the caller has a write transaction open, and will end it by `failure`.
// Thread and blocking: as the Database, which must outlive it.
class SqliteTransaction final : public Transaction {
 public:
  explicit SqliteTransaction(Database& database) : database_(database) {}

  absl::StatusOr<uint64_t> InsertGuest(const GuestRow& guest) override;
  absl::Status UpdateGuest(const GuestRow& guest) override;
  absl::Status DeleteGuest(uint64_t id) override;
  absl::Status InsertImage(const ImageRow& image) override;
  absl::Status SetImageName(absl::string_view name, absl::string_view digest) override;
  absl::Status DeleteImageName(absl::string_view name) override;
  absl::Status DeleteImage(absl::string_view digest) override;
  absl::Status ReplaceImage(absl::string_view digest, const ImageRow& image) override;
  absl::Status InsertKernel(const KernelRow& kernel) override;
  absl::Status DeleteKernel(absl::string_view name) override;
  absl::Status SetDefaultKernel(absl::string_view name) override;
  absl::Status InsertVolume(const VolumeRow& volume) override;
  absl::Status DeleteVolume(absl::string_view name) override;
  absl::Status SetPool(const PoolRow& pool) override;
  absl::StatusOr<uint64_t> ReserveGuestIds(uint64_t count) override;
  absl::Status InsertSnapshot(const SnapshotRow& snapshot) override;
  absl::Status DeleteSnapshot(uint64_t id) override;
  absl::StatusOr<uint64_t> InsertOperation(const OperationRow& operation) override;
  absl::Status UpdateOperation(const OperationRow& operation) override;
  absl::StatusOr<uint64_t> AppendEvent(const EventRow& event) override;

  // The first error of any call. Not OK: nothing of this may be committed, whatever the body made of it.
  const absl::Status& failure() const { return failure_; }

 private:
  absl::Status Remember(absl::Status status);
  absl::StatusOr<uint64_t> RememberId(const absl::Status& status);

  Database& database_;
  absl::Status failure_;
};

}  // namespace umld::state

#endif  // UMLD_STATE_SQLITE_TRANSACTION_H_
