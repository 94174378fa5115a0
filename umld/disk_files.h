#ifndef UMLD_UMLD_DISK_FILES_H_
#define UMLD_UMLD_DISK_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "state/rows.h"
#include "umld/caller.h"
#include "umld/guest_table.h"
#include "umld/v1/services.pb.h"

namespace umld {

// In all of these, files are opened with the caller's permissions, but for those that umld made for its guests.

// What a disk's file is, and which guests have it. Blocks on the disk.
absl::StatusOr<v1::DiskFile> DescribeDiskFile(const std::string& path, const Caller& caller, const GuestTable& table);

// As RebaseDiskFile of the API; `images` are all there are.
absl::StatusOr<v1::DiskFile> RebaseDiskFile(const v1::RebaseDiskFileRequest& request, const Caller& caller,
                                            const std::vector<state::ImageRow>& images, GuestTable* table);

// A COW file to be read with its backing file.
struct OpenCow {
  UniqueFd cow, backing;
  devices::CowHeader header;
  std::string backing_path;
};
// Opens both; `backing` may be empty when a guest has the COW file as a disk. kFailedPrecondition: a guest runs with
// it, or the backing file is not as it was; kInvalidArgument: nobody knows the backing file.
absl::StatusOr<OpenCow> OpenCowFile(const std::string& path, const std::string& backing, const Caller& caller,
                                    const GuestTable& table);

// A COW file and its backing file, to be written to and locked: no kernel starts with either meanwhile.
struct WritableCow {
  UniqueFd cow, backing;
  devices::CowHeader header;
  std::string backing_path;
};
// Opens them so that the one can be written into the other. `begun_mtime`: of the header, when an earlier umld may have
// written to the backing file already; 0: nobody has. kFailedPrecondition: BACKING_SHARED: somebody else relies on the
// backing file, as one of `images` and `snapshots` or as a disk; DISK_IN_USE; BACKING_DIFFERS.
absl::StatusOr<WritableCow> OpenCowForCommit(const std::string& path, const std::string& backing, const Caller& caller,
                                             const GuestTable& table, const std::vector<state::ImageRow>& images,
                                             const std::vector<state::SnapshotRow>& snapshots, uint32_t begun_mtime);
// The guest that has this file as a disk; empty: none.
std::string GuestWithDisk(const std::string& path, const GuestTable& table);

}  // namespace umld

#endif  // UMLD_UMLD_DISK_FILES_H_
