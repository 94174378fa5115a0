#ifndef UMLD_UMLD_IMAGES_H_
#define UMLD_UMLD_IMAGES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/store.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/operations.h"
#include "umld/v1/resources.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The root filesystems of this host: files in STATE/images that never change, and their rows. Thread-safe; blocks on
// the disk.
class Images {
 public:
  // All outlive it.
  Images(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations, EventLog* events,
         WorkerPool* pool)
      : config_(config), store_(store), table_(table), operations_(operations), events_(events), pool_(pool) {}

  absl::StatusOr<std::vector<v1::Image>> List();
  absl::StatusOr<v1::Image> Get(const std::string& name);
  // Commits the intent and returns; the image is there, whole, when the operation is done.
  absl::StatusOr<OperationView> Build(const std::string& kind, const std::string& image_id,
                                      const std::string& request_id);
  absl::Status Delete(const std::string& name);

 private:
  v1::Image Show(const state::ImageRow& row);
  absl::Status RunBuild(const std::string& id, const state::OperationRow& operation);
  absl::Status Commit(const char* event_type, const std::string& id,
                      const std::function<absl::Status(state::Transaction&)>& change);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  EventLog* const events_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_IMAGES_H_
