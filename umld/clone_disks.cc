#include "umld/clone_disks.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "devices/disk/cow_content.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"
#include "umld/snapshot_copy.h"

namespace umld {
namespace {

// For folders, logs and the database.
constexpr uint64_t kSpare = uint64_t{16} << 20;

std::string CopyOf(const std::string& folder, const ClonedDisk& disk) {
  return absl::StrCat(folder, "/", devices::DiskName(disk.row.unit));
}

uint64_t BlocksOf(const std::string& file) {
  struct stat info = {};
  return file.empty() || !StatHostPath(file, &info) ? 0 : static_cast<uint64_t>(info.st_blocks) * 512;
}

absl::StatusOr<UniqueFd> Create(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  return fd;
}

absl::Status SyncedCopy(const std::string& from, const std::string& to) {
  const UniqueFd in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in.ok()) return ErrnoError(errno, absl::StrCat("open ", from));
  ASSIGN_OR_RETURN(const UniqueFd out, Create(to));
  RETURN_IF_ERROR(Annotate(CopySparse(in.get(), out.get()), to));
  return fsync(out.get()) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", to));
}

// What the guest sees of the disk, as one file. The header was the guest's to write: all but the numbers in it that
// agree with the file that umld knows is refused.
absl::Status Merge(const std::string& cow_path, const state::DiskRow& disk, const std::string& to) {
  ASSIGN_OR_RETURN(const devices::OpenDisk cow, devices::OpenDiskFile(cow_path, devices::DiskAccess::kRead, true));
  ASSIGN_OR_RETURN(const std::string start, devices::ReadStart(cow, cow_path, devices::kCowHeaderBytes));
  ASSIGN_OR_RETURN(const std::optional<devices::CowHeader> header, devices::ParseCowHeader(start));
  ASSIGN_OR_RETURN(const devices::OpenDisk under, ActAs(disk.opener, [&] {
                     return devices::OpenDiskFile(disk.backing, devices::DiskAccess::kRead, true);
                   }));
  if (!header.has_value() || under.size_bytes != header->size || under.info.st_mtime != int64_t{header->mtime}) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(disk.backing, " is not as it was when ", disk.path, " was made over it"),
                     {"BACKING_DIFFERS", disk.backing, absl::StrCat("`umlctl disk info ", disk.path, "` says more")});
  }
  ASSIGN_OR_RETURN(const UniqueFd into, Create(to));
  RETURN_IF_ERROR(Annotate(CopySparse(under.fd.get(), into.get()), to));
  return Annotate(devices::MergeCow(cow.fd.get(), *header, into.get(), nullptr), to);
}

absl::Status Finish(const std::string& folder, const std::optional<Credentials>& reader, ClonedDisk* disk) {
  const std::string copy = CopyOf(folder, *disk);
  const bool is_cow = !disk->row.backing.empty() && !disk->merged;
  const std::string path = absl::StrCat(copy, is_cow ? ".cow" : ".img");
  if (disk->merged) {
    if (!disk->row.opener.has_value()) disk->row.opener = reader;
    RETURN_IF_ERROR(Merge(copy, disk->row, path));
    unlink(copy.c_str());
    disk->row.backing.clear();
  } else if (rename(copy.c_str(), path.c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("make ", path));
  }
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok() || fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", path));
  disk->row.path = path;
  disk->row.managed = true;
  disk->row.opener.reset();
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckCloneSpace(const std::string& folder, const std::vector<ClonedDisk>& disks,
                             const std::function<std::string(const ClonedDisk&)>& file_of) {
  struct statfs space = {};
  if (statfs(folder.c_str(), &space) != 0) return ErrnoError(errno, folder);
  if (space.f_type == BTRFS_SUPER_MAGIC || space.f_type == XFS_SUPER_MAGIC) return absl::OkStatus();
  uint64_t needed = kSpare;
  for (const ClonedDisk& disk : disks) {
    if (!disk.copied) continue;
    // A merged one is beside the copy of its COW file for a while.
    needed += BlocksOf(file_of(disk)) * (disk.merged ? 2 : 1) + (disk.merged ? BlocksOf(disk.row.backing) : 0);
  }
  const uint64_t free = static_cast<uint64_t>(space.f_bavail) * static_cast<uint64_t>(space.f_bsize);
  if (needed <= free) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("copies of its disks need ", HumanByteSize(needed), ", and the filesystem of ", folder,
                                " has ", HumanByteSize(free), " left"),
                   {"NO_SPACE", folder, "free some space there"});
}

absl::Status CopyCloneDisks(const std::string& from, const std::string& folder, const std::vector<ClonedDisk>& disks) {
  for (const ClonedDisk& disk : disks) {
    if (!disk.copied) continue;
    RETURN_IF_ERROR(Annotate(SyncedCopy(CopyOf(from, disk), CopyOf(folder, disk)),
                             absl::StrCat("disk ", devices::DiskName(disk.row.unit))));
  }
  return absl::OkStatus();
}

absl::Status FinishCloneDisks(const std::string& folder, const std::optional<Credentials>& reader,
                              std::vector<ClonedDisk>* disks) {
  for (ClonedDisk& disk : *disks) {
    if (!disk.copied) continue;
    RETURN_IF_ERROR(Annotate(Finish(folder, reader, &disk), absl::StrCat("disk ", devices::DiskName(disk.row.unit))));
  }
  return SyncFolder(folder);
}

}  // namespace umld
