#ifndef UMLD_UMLD_KERNEL_CATALOG_H_
#define UMLD_UMLD_KERNEL_CATALOG_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "state/rows.h"
#include "umld/guest_table.h"

namespace umld {

// A kernel that a guest can be started with.
struct KernelChoice {
  std::string name;         // "kernels/debian"; empty: a path of the guest's own
  std::string path;         // absolute
  std::string modules;      // the file system with its modules, or empty
  bool by_default = false;  // the guest follows the default
};

// Which file a guest's kernel is: the rows of the kernels, in memory. Thread-safe; nothing blocks.
class KernelCatalog {
 public:
  // `folder` has the files of the imported ones; `system_path` is the one of umld --kernel.
  KernelCatalog(std::string folder, std::string system_path)
      : folder_(std::move(folder)), system_path_(std::move(system_path)) {}

  // The rows as they are committed now.
  void Set(std::vector<state::KernelRow> rows);
  std::vector<state::KernelRow> rows() const;

  // Where the parts of an imported kernel are; empty for a part that it does not have.
  std::string BinaryPath(const state::KernelRow& row) const;
  std::string SymbolsPath(const state::KernelRow& row) const;
  std::string ModulesPath(const state::KernelRow& row) const;
  std::set<std::string> AllPaths() const;
  // Whether this is the file with the modules of some kernel.
  bool IsModules(const std::string& path) const;

  // What a guest's `kernel` ("kernels/NAME", a path, empty for the default) comes to now. kNotFound.
  absl::StatusOr<KernelChoice> Choose(const std::string& wish) const;
  // What the guest is run with: of one that runs what its supervisor has, or else what its wish comes to.
  // kNotFound: it names a kernel that is gone.
  absl::StatusOr<KernelChoice> ChoiceOf(const GuestView& view) const;

  // The same as Choose; its files are not deleted as long as somebody has the result.
  absl::StatusOr<std::shared_ptr<const KernelChoice>> Hold(const std::string& wish);
  // Whether somebody holds this file.
  bool IsHeld(const std::string& path);

 private:
  KernelChoice ToChoice(const state::KernelRow& row) const;
  absl::StatusOr<KernelChoice> ChooseLocked(const std::string& wish) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  const std::string system_path_;
  mutable absl::Mutex mutex_;
  std::vector<state::KernelRow> rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<const KernelChoice>> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace umld

#endif  // UMLD_UMLD_KERNEL_CATALOG_H_
