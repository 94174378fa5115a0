#ifndef UMLD_UMLD_SNAPSHOT_TAKER_H_
#define UMLD_UMLD_SNAPSHOT_TAKER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/operations.h"
#include "umld/volume_catalog.h"

namespace umld {

// Copies the writable disks of guests as they all are at one point in time: those that run write out what they have in
// memory, then stand still together while all is copied, and go on. Thread-safe; blocks on disks and guests.
class SnapshotTaker {
 public:
  // All outlive it.
  SnapshotTaker(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations,
                Guests* guests, GuestRuntime* runtime, VolumeCatalog* volumes)
      : config_(config),
        store_(store),
        table_(table),
        operations_(operations),
        guests_(guests),
        runtime_(runtime),
        volumes_(volumes) {}

  // What its files are kept under: of the guest at this place of the operation. Higher than that of any earlier
  // operation.
  static uint64_t Id(uint64_t operation, size_t place) { return operation << kPlaceBits | place; }
  static constexpr int kPlaceBits = 16;
  static constexpr size_t kMaxGuests = size_t{1} << kPlaceBits;

  // In the lines of all the guests. The rows are what is to be committed, in the order of the guests, each whole and
  // synced under SnapshotDir(Id(operation, place)), with `like`'s name and description. On an error, which names the
  // guest, the folders are to be removed. Guests go on in any case.
  absl::StatusOr<std::vector<state::SnapshotRow>> Take(const std::vector<GuestPtr>& guests,
                                                       const state::SnapshotRow& like, uint64_t operation);
  // Lets those of the guests go on that an earlier umld has paused for this. In their lines.
  void LetGoOn(const std::vector<GuestPtr>& guests);
  // Later, those that could not be told, as soon as they can be. Does not block.
  void LetGoOnLater(const std::vector<GuestPtr>& guests);

 private:
  struct Member;
  absl::StatusOr<Member> Prepare(const GuestPtr& guest, const state::SnapshotRow& like, uint64_t id);
  absl::Status CopyTogether(std::vector<Member>& members, uint64_t operation);
  absl::Status GoOn(const GuestPtr& guest);
  // In the runtime directory, as a pause ends with its host: we have paused the guest, and it is to go on.
  std::string PauseMarker(const GuestView& view) const;

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  GuestRuntime* const runtime_;
  VolumeCatalog* const volumes_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOT_TAKER_H_
