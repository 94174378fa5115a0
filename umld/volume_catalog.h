#ifndef UMLD_UMLD_VOLUME_CATALOG_H_
#define UMLD_UMLD_VOLUME_CATALOG_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "state/rows.h"

namespace umld {

// "data" of "volumes/data" or "data". kInvalidArgument. Pure.
absl::StatusOr<std::string> ParseVolumeName(absl::string_view text);

// Which files are volumes, and who is at work on one. A guest's row has a volume by the path of its file; that it is a
// volume is told from the path, here and nowhere else. Thread-safe; nothing blocks but Expand, which looks at a file.
class VolumeCatalog {
 public:
  // `folder` has the volumes' files.
  explicit VolumeCatalog(std::string folder) : folder_(std::move(folder)) {}

  const std::string& folder() const { return folder_; }
  std::string PathOf(absl::string_view name) const;
  // "data" of its file's path; empty: the path is no volume's.
  std::string NameOf(absl::string_view path) const;
  // For people: "volume:data", or the path that it is.
  std::string Show(const std::string& path) const;
  // "ubdb=volume:data" becomes "ubdb=FILE"; other specs stay as they are. kNotFound; kInvalidArgument: with a second
  // file.
  absl::StatusOr<std::string> Expand(const std::string& spec) const;

  // Keeps volumes as they are, or for one alone, as long as it lives.
  using Hold = std::shared_ptr<const void>;
  // Guests are given these disks, or started with them: for any number at a time.
  // kFailedPrecondition VOLUME_BUSY: somebody changes one of the volumes.
  absl::StatusOr<Hold> Use(const std::vector<state::DiskRow>& disks);
  // For whoever makes, changes, copies or removes it; `doing` is for the others' errors: "is being resized".
  // kFailedPrecondition VOLUME_BUSY: somebody else does, or a guest is just being given it.
  absl::StatusOr<Hold> Change(const std::string& name, const std::string& doing);

 private:
  struct Work {
    int users = 0;
    std::string doing;  // not empty: one, alone
  };
  void Release(const std::vector<std::string>& names);

  const std::string folder_;
  absl::Mutex mutex_;
  std::map<std::string, Work> work_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace umld

#endif  // UMLD_UMLD_VOLUME_CATALOG_H_
