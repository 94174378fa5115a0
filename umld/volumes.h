#ifndef UMLD_UMLD_VOLUMES_H_
#define UMLD_UMLD_VOLUMES_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "image/entry.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/content_store.h"
#include "umld/daemon_config.h"
#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/operations.h"
#include "umld/v1/volumes.pb.h"
#include "umld/volume_catalog.h"
#include "umld/worker_pool.h"

namespace umld {

// The volumes of this host: a row says that there is one, its file in STATE/volumes is all that it is. Whoever changes
// one holds it (VolumeCatalog), so that no guest is given it meanwhile. Thread-safe; blocks on the disk. Split over
// files: volumes.cc (make, change, remove), volume_views.cc (what there is).
class Volumes {
 public:
  // All outlive it.
  Volumes(const DaemonConfig* config, VolumeCatalog* catalog, state::Store* store, GuestTable* table, Guests* guests,
          Operations* operations, EventLog* events, WorkerPool* pool);

  // Before anything is begun: what a killed umld left half made is removed.
  void Recover();
  // Finishes or undoes what an earlier umld began; false: it is no volume's operation. After the guests were recovered.
  bool ResumeOperation(const state::OperationRow& operation);

  absl::StatusOr<v1::ListVolumesResponse> List(const v1::ListVolumesRequest& request);
  absl::StatusOr<v1::Volume> Get(const std::string& name);
  // Commit the intent and return; the operation says how it ends. Files of the host are the caller's to read and make.
  absl::StatusOr<OperationView> Create(const v1::CreateVolumeRequest& request);
  absl::StatusOr<OperationView> Import(const v1::ImportVolumeRequest& request, const Caller& caller);
  absl::StatusOr<OperationView> Export(const v1::ExportVolumeRequest& request, const Caller& caller);
  // The volume's content; nobody changes it as long as somebody has `hold`.
  absl::StatusOr<UniqueFd> OpenToRead(const std::string& name, std::shared_ptr<const void>* hold);
  // Calls `done` once, on any thread: with the operation begun, or when a running guest's disk has grown.
  void Resize(const v1::ResizeVolumeRequest& request, const Caller& caller,
              std::function<void(absl::StatusOr<v1::ResizeVolumeResponse>)> done);
  absl::Status Delete(const std::string& name);

 private:
  using Fill = std::function<absl::Status(const Draft& draft, uint64_t operation)>;
  // A disk of a guest that is a volume.
  struct Attachment {
    GuestView guest;
    state::DiskRow disk;
    bool writes() const;
  };

  // Also ends the work when there is no more room for the file `made` (disk_room.h); -1: it is none of umld's.
  image::StepProgress ReportTo(uint64_t operation, int made = -1);
  absl::StatusOr<state::VolumeRow> Find(const std::string& name);
  std::vector<Attachment> AttachmentsOf(const std::string& name) const;
  v1::Volume Show(const state::VolumeRow& row) const;
  absl::StatusOr<v1::VolumeSpace> Space(const std::vector<state::VolumeRow>& rows) const;

  // `body` lets go of the hold before it says that it is done: whoever waits for that finds the volume free.
  using Body = std::function<absl::Status(const state::OperationRow&, VolumeCatalog::Hold*)>;
  void Run(const state::OperationRow& operation, VolumeCatalog::Hold hold, Body body);
  absl::StatusOr<OperationView> Begin(state::OperationRow row, VolumeCatalog::Hold hold, Body body);
  absl::StatusOr<OperationView> BeginMaking(const char* verb, const std::string& id, const std::string& description,
                                            const std::string& request_id, Fill fill);
  absl::Status Make(const state::VolumeRow& row, const Fill& fill, const state::OperationRow& operation,
                    VolumeCatalog::Hold* hold);
  absl::StatusOr<v1::ResizeVolumeResponse> BeginGrow(const std::string& name, uint64_t size_bytes,
                                                     const std::string& request_id);
  absl::Status RunGrow(const state::OperationRow& operation, bool resumed, VolumeCatalog::Hold* hold);
  absl::Status RunDelete(const std::string& name, const state::OperationRow& operation);
  // What has been done, with its event and the good end of its operation; `hold` is let go of in between.
  absl::Status Commit(const char* event_type, const std::string& message, const state::OperationRow& operation,
                      VolumeCatalog::Hold* hold, const std::function<absl::Status(state::Transaction&)>& change);
  // The same for what is not yet the end of an operation.
  absl::Status CommitEvent(const char* event_type, const std::string& message, const std::string& subject,
                           const std::function<absl::Status(state::Transaction&)>& change);

  const DaemonConfig* const config_;
  VolumeCatalog* const catalog_;
  state::Store* const store_;
  GuestTable* const table_;
  Guests* const guests_;
  Operations* const operations_;
  EventLog* const events_;
  WorkerPool* const pool_;
  const ContentStore files_;
};

}  // namespace umld

#endif  // UMLD_UMLD_VOLUMES_H_
