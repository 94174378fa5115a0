#ifndef UMLD_UMLD_GUEST_EXPORT_H_
#define UMLD_UMLD_GUEST_EXPORT_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/archive_writer.h"
#include "umld/caller.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/kernel_catalog.h"
#include "umld/operations.h"
#include "umld/snapshots.h"
#include "umld/v1/transfer.pb.h"

namespace umld {

// A guest on its way to somebody: an operation, and the archive that is made of copies of its disks. When it is given
// up, nothing is left. Thread: one at a time; blocks on the disk.
class GuestExport {
 public:
  GuestExport(Operations* operations, state::OperationRow operation, ArchiveWriter writer,
              std::vector<std::string> notes)
      : operations_(operations),
        operation_(std::move(operation)),
        writer_(std::move(writer)),
        notes_(std::move(notes)) {}
  GuestExport(const GuestExport&) = delete;
  GuestExport& operator=(const GuestExport&) = delete;
  ~GuestExport();

  uint64_t total_bytes() const { return writer_.total_bytes(); }
  const std::vector<std::string>& notes() const { return notes_; }
  // The next bytes; empty: all was taken, and the operation has ended. kCancelled: somebody wants it to end.
  absl::StatusOr<std::string> Next();

 private:
  Operations* const operations_;
  const state::OperationRow operation_;
  ArchiveWriter writer_;
  const std::vector<std::string> notes_;
  uint64_t sent_ = 0;
  bool ended_ = false;
};

// Begins exports. Thread-safe.
class GuestExports {
 public:
  // All outlive it.
  GuestExports(state::Store* store, GuestTable* table, Operations* operations, Guests* guests, Snapshots* snapshots,
               const KernelCatalog* catalog)
      : store_(store),
        table_(table),
        operations_(operations),
        guests_(guests),
        snapshots_(snapshots),
        catalog_(catalog) {}

  // Copies the disks in the guest's line, and calls `done` there or on this thread.
  using Done = std::function<void(absl::StatusOr<std::unique_ptr<GuestExport>>)>;
  // With `caller`'s permissions is opened what a snapshot lies on and no disk of the guest names any more.
  void Begin(const v1::ExportGuestRequest& request, const Caller& caller, const Done& done);
  // One that an earlier umld left unfinished; false: it is no export.
  bool ResumeOperation(const state::OperationRow& operation);

 private:
  struct Parts;
  absl::StatusOr<std::unique_ptr<GuestExport>> Make(const GuestPtr& guest, const v1::ExportGuestRequest& request,
                                                    const Caller& caller, const state::OperationRow& operation);
  absl::Status AddSnapshot(const GuestView& view, const std::string& snapshot, const Caller& caller, Parts* parts);
  absl::Status AddPresent(const GuestPtr& guest, const state::OperationRow& operation, Parts* parts);
  absl::Status AddDisk(const state::DiskRow& disk, UniqueFd fd, Parts* parts);
  absl::Status AddBacking(const state::DiskRow& disk, int fd, Parts* parts, std::string* id);

  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  Snapshots* const snapshots_;
  const KernelCatalog* const catalog_;
};

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_EXPORT_H_
