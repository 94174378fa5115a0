#ifndef UMLD_UMLD_DISK_FILES_H_
#define UMLD_UMLD_DISK_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "umld/caller.h"
#include "umld/guest_table.h"
#include "umld/v1/services.pb.h"

namespace umld {

// In all of these, files are opened with the caller's permissions, but for those that umld made for its guests.

// What a disk's file is, and which guests have it. Blocks on the disk.
absl::StatusOr<v1::DiskFile> DescribeDiskFile(const std::string& path, const Caller& caller, const GuestTable& table);

// As RebaseDiskFile of the API.
absl::StatusOr<v1::DiskFile> RebaseDiskFile(const v1::RebaseDiskFileRequest& request, const Caller& caller,
                                            GuestTable* table);

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

}  // namespace umld

#endif  // UMLD_UMLD_DISK_FILES_H_
