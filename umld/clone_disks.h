#ifndef UMLD_UMLD_CLONE_DISKS_H_
#define UMLD_UMLD_CLONE_DISKS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/credentials.h"
#include "umld/clone_plan.h"

namespace umld {

// The files of a clone's own disks, in a folder that is to become its state folder. All block on the disk.

// kResourceExhausted: `folder`'s filesystem has too little room for copies of these. Where it may share blocks nobody
// can say, and nothing is asked. `file_of` says where the disk's content is now.
absl::Status CheckCloneSpace(const std::string& folder, const std::vector<ClonedDisk>& disks,
                             const std::function<std::string(const ClonedDisk&)>& file_of);

// Copies each that is to be from `from`/ubdX to `folder`/ubdX.
absl::Status CopyCloneDisks(const std::string& from, const std::string& folder, const std::vector<ClonedDisk>& disks);

// Makes the clone's disks of the copies `folder`/ubdX: merges what is to be merged, gives the files the names that they
// keep, and syncs all. The rows are the new guest's then, with paths in `folder`. `reader` opens backing files of disks
// that have no opener of their own.
absl::Status FinishCloneDisks(const std::string& folder, const std::optional<Credentials>& reader,
                              std::vector<ClonedDisk>* disks);

}  // namespace umld

#endif  // UMLD_UMLD_CLONE_DISKS_H_
