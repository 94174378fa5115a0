#include "umld/snapshot_restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/credentials.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "base/unique_fd.h"
#include "devices/disk/disk_spec.h"
#include "spdlog/spdlog.h"
#include "umld/snapshot_copy.h"

namespace umld {
namespace {

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

absl::Status RemoveIfThere(const std::string& path) {
  return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus()
                                                      : ErrnoError(errno, absl::StrCat("remove ", path));
}

std::string Noun(const state::DiskRow& disk) { return absl::StrCat("disk ", devices::DiskName(disk.unit)); }

}  // namespace

const state::DiskRow* SnapshotRestore::DiskFor(const state::SnapshotDiskRow& wanted) const {
  for (const state::DiskRow& disk : guest_.disks) {
    if (disk.unit == wanted.unit && disk.path == wanted.path && disk.backing == wanted.backing) return &disk;
  }
  return nullptr;
}

std::string SnapshotRestore::Staged(const state::DiskRow& disk) const {
  return absl::StrCat(disk.path, ".restore-", operation_);
}

std::string SnapshotRestore::Old(const state::DiskRow& disk) const { return Staged(disk) + ".old"; }

absl::Status SnapshotRestore::Check() const {
  for (const state::SnapshotDiskRow& wanted : snapshot_.disks) {
    if (DiskFor(wanted) != nullptr) continue;
    const std::string device = devices::DiskName(wanted.unit);
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("its ", device, " is not ", wanted.path, " any more, of which the snapshot was taken"),
        {"DISKS_DIFFER", "guests/" + guest_.name,
         absl::StrCat("plug that one again (`umlctl plug ", guest_.name, " ", device, "=", wanted.path, "`)")});
  }
  return absl::OkStatus();
}

absl::Status SnapshotRestore::Stage() const {
  for (const state::SnapshotDiskRow& wanted : snapshot_.disks) {
    const state::DiskRow* disk = DiskFor(wanted);
    if (disk != nullptr) RETURN_IF_ERROR(Annotate(StageDisk(*disk), Noun(*disk)));
  }
  return absl::OkStatus();
}

absl::Status SnapshotRestore::StageDisk(const state::DiskRow& disk) const {
  const std::string copy = absl::StrCat(folder_, "/", devices::DiskName(disk.unit));
  UniqueFd from(open(copy.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.ok()) return ErrnoError(errno, absl::StrCat("open ", copy));
  const std::string staged = Staged(disk);
  return ActAs(disk.opener, [&]() -> absl::Status {
    struct stat old = {};
    if (!StatHostPath(FolderOf(disk.path), &old)) return ErrnoError(errno, absl::StrCat("the folder of ", disk.path));
    const bool is_there = lstat(disk.path.c_str(), &old) == 0;
    if (is_there && !S_ISREG(old.st_mode)) {
      return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(disk.path, " is no regular file any more"),
                       {"DISKS_DIFFER", disk.path, "put a file back in its place, or remove it"});
    }
    ASSIGN_OR_RETURN(const UniqueFd to, NewFile(staged));
    RETURN_IF_ERROR(Annotate(CopySparse(from.get(), to.get()), staged));
    struct stat made = {};
    if (fstat(to.get(), &made) != 0) return ErrnoError(errno, staged);
    const bool same_owner = made.st_uid == old.st_uid && made.st_gid == old.st_gid;
    if (is_there && !same_owner && fchown(to.get(), old.st_uid, old.st_gid) != 0) {
      return ErrnoError(errno, absl::StrCat("give ", staged, " the owner of ", disk.path));
    }
    if (fchmod(to.get(), is_there ? old.st_mode & 0777 : 0600) != 0) return ErrnoError(errno, staged);
    if (fsync(to.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", staged));
    return SyncFolder(FolderOf(staged));
  });
}

absl::Status SnapshotRestore::KeepOld(const state::DiskRow& disk) const {
  return ActAs(disk.opener, [&]() -> absl::Status {
    // Not every filesystem, nor everybody's file, lets itself be linked. Then there is nothing to put back.
    if (link(disk.path.c_str(), Old(disk).c_str()) != 0 && errno != EEXIST && errno != ENOENT) {
      spdlog::info("guest {}: {}: {}", guest_.name, Noun(disk), std::string(ErrnoError(errno, "link").message()));
    }
    return absl::OkStatus();
  });
}

void SnapshotRestore::PutBack(const state::DiskRow& disk) const {
  const absl::Status put_back = ActAs(disk.opener, [&]() -> absl::Status {
    // The new one is kept until Discard, so that a kill in between leaves Replace what it needs.
    if (access(Old(disk).c_str(), F_OK) != 0 || rename(disk.path.c_str(), Staged(disk).c_str()) != 0 ||
        rename(Old(disk).c_str(), disk.path.c_str()) != 0) {
      return ErrnoError(errno, absl::StrCat("put back ", disk.path));
    }
    return SyncFolder(FolderOf(disk.path));
  });
  if (!put_back.ok()) spdlog::error("guest {}: {}: {}", guest_.name, Noun(disk), std::string(put_back.message()));
}

absl::Status SnapshotRestore::Replace() const {
  std::vector<const state::DiskRow*> disks;
  for (const state::SnapshotDiskRow& wanted : snapshot_.disks) {
    if (const state::DiskRow* disk = DiskFor(wanted); disk != nullptr) disks.push_back(disk);
  }
  for (const state::DiskRow* disk : disks) RETURN_IF_ERROR(KeepOld(*disk));
  std::vector<const state::DiskRow*> replaced;
  for (const state::DiskRow* disk : disks) {
    const absl::Status status = ActAs(disk->opener, [&]() -> absl::Status {
      // What an earlier umld had renamed already is there no more.
      if (rename(Staged(*disk).c_str(), disk->path.c_str()) != 0 && errno != ENOENT) {
        return ErrnoError(errno, absl::StrCat("replace ", disk->path));
      }
      return SyncFolder(FolderOf(disk->path));
    });
    if (status.ok()) {
      replaced.push_back(disk);
      continue;
    }
    for (const state::DiskRow* done : replaced) PutBack(*done);
    return Annotate(status, Noun(*disk));
  }
  RemoveOld();
  return absl::OkStatus();
}

void SnapshotRestore::RemoveOld() const {
  for (const state::SnapshotDiskRow& wanted : snapshot_.disks) {
    const state::DiskRow* disk = DiskFor(wanted);
    if (disk == nullptr) continue;
    const absl::Status removed = ActAs(disk->opener, [&] { return RemoveIfThere(Old(*disk)); });
    if (!removed.ok()) spdlog::warn("guest {}: {}", guest_.name, std::string(removed.message()));
  }
}

void SnapshotRestore::Discard() const {
  RemoveOld();
  for (const state::SnapshotDiskRow& wanted : snapshot_.disks) {
    const state::DiskRow* disk = DiskFor(wanted);
    if (disk == nullptr) continue;
    const absl::Status removed = ActAs(disk->opener, [&] { return RemoveIfThere(Staged(*disk)); });
    if (!removed.ok()) spdlog::warn("guest {}: {}", guest_.name, std::string(removed.message()));
  }
}

}  // namespace umld
