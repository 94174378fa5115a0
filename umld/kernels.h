#ifndef UMLD_UMLD_KERNELS_H_
#define UMLD_UMLD_KERNELS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "kernel/kernel_reader.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/content_store.h"
#include "umld/daemon_config.h"
#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/kernel_catalog.h"
#include "umld/operations.h"
#include "umld/v1/kernels.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The kernels of this host: files in STATE/kernels that never change, and their rows. A kernel is read, never run.
// Split over files: kernels.cc (which there are, the default, removal), kernel_import.cc (how one gets here).
// Thread-safe; blocks on the disk.
class Kernels {
 public:
  // All outlive it.
  Kernels(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations, EventLog* events,
          KernelCatalog* catalog, WorkerPool* pool);

  // Fills the catalog, and removes what a umld that was killed left behind. Before any other call.
  absl::Status Load();

  absl::StatusOr<std::vector<v1::Kernel>> List();
  absl::StatusOr<v1::Kernel> Get(const std::string& name);
  // One line for each option.
  absl::StatusOr<std::string> Config(const std::string& name);
  // Opens what is to be imported, commits the intent and returns; the kernel is there, whole, when the operation is
  // done.
  // The files are opened with the caller's permissions.
  absl::StatusOr<OperationView> Import(const v1::ImportKernelRequest& request, const Caller& caller);
  // Commits the intent and returns. At low priority, for minutes; at once when that very kernel is there already.
  absl::StatusOr<OperationView> Build(const v1::BuildKernelRequest& request, const Caller& caller);
  // The same, when there is no kernel "fast" yet.
  absl::Status BuildUnlessThere();
  absl::StatusOr<v1::Kernel> SetDefault(const std::string& name, const Caller& caller);
  absl::Status Delete(const std::string& name, const Caller& caller);

 private:
  struct Sources;
  using TextPtr = std::shared_ptr<const kernel::KernelText>;
  struct Examined {
    std::string identity;  // of the file's content
    TextPtr text;
  };
  // One part of a kernel on its way into the store.
  struct Part {
    Draft draft;
    Content content;
  };

  v1::Kernel Show(const std::string& name, const state::KernelRow* row);
  void ShowUses(v1::Kernel* kernel);
  absl::StatusOr<v1::Kernel> GetById(const std::string& id);
  // What the file says; kept until the file changes.
  absl::StatusOr<TextPtr> Examine(const std::string& path);
  absl::StatusOr<Part> TakeFile(const ContentStore& store, int source, const std::string& name, uint64_t most,
                                const std::function<void(uint64_t done, uint64_t total)>& progress);
  static absl::StatusOr<std::string> ParseId(absl::string_view name);
  // Which kernel a guest that is not confined runs, with umld's permissions, is for an admin to change. `wish`: as in a
  // guest's row. kPermissionDenied: there is such a guest, and the caller is none.
  absl::Status CheckRelaxed(const std::string& wish, const Caller& caller) const;
  absl::Status RunBuild(const std::string& id, const v1::BuildKernelRequest& request,
                        const state::OperationRow& operation);
  absl::Status RunImport(const std::string& id, Sources& sources, const state::OperationRow& operation);
  absl::StatusOr<Part> TakeModules(const std::string& path, const std::string& version,
                                   const std::optional<Credentials>& user);
  absl::Status Keep(state::KernelRow row, std::vector<std::pair<const ContentStore*, Part*>> parts,
                    const state::OperationRow& operation);
  absl::Status CheckUnused(const state::KernelRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_);
  absl::Status Commit(const char* event_type, const std::string& id,
                      const std::function<absl::Status(state::Transaction&)>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_);
  // Removes files that no row has any more.
  void RemoveUnneeded(const state::KernelRow& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  EventLog* const events_;
  KernelCatalog* const catalog_;
  WorkerPool* const pool_;
  const std::string folder_;
  const ContentStore binaries_, symbols_, modules_;
  // Held from the moment when files are placed or found unneeded until the rows say so.
  absl::Mutex change_;
  absl::Mutex examined_mutex_;
  std::map<std::string, Examined> examined_ ABSL_GUARDED_BY(examined_mutex_);
};

}  // namespace umld

#endif  // UMLD_UMLD_KERNELS_H_
