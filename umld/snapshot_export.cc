// The disks of a guest for those who take them elsewhere: of a snapshot, or as they are now.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "devices/disk/disk_spec.h"
#include "spdlog/spdlog.h"
#include "umld/snapshots.h"

namespace umld {
namespace {

absl::Status OpenCopies(const std::string& folder, const state::SnapshotRow& row, Snapshots::OpenDisks* opened) {
  opened->synced = row.synced;
  for (const state::SnapshotDiskRow& disk : row.disks) {
    const std::string path = absl::StrCat(folder, "/", devices::DiskName(disk.unit));
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
    opened->disks.push_back({disk, std::move(fd)});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Snapshots::OpenDisks> Snapshots::Open(const std::string& name) {
  ASSIGN_OR_RETURN(const Found found, Find(name));
  OpenDisks opened;
  RETURN_IF_ERROR(OpenCopies(Folder(found.row.id), found.row, &opened));
  return opened;
}

absl::StatusOr<Snapshots::OpenDisks> Snapshots::CopyNow(const GuestPtr& guest, const state::OperationRow& operation) {
  table_->Update(guest, [&](GuestView& view) { view.operation = operation.id; });
  // Without a row, the folder is nobody's snapshot, and what a kill leaves of it goes at the next start.
  const absl::StatusOr<state::SnapshotRow> made = Make(guest, operation);
  table_->Update(guest, [](GuestView& view) { view.operation = 0; });
  OpenDisks opened;
  absl::Status status = made.status();
  if (status.ok()) status = OpenCopies(Folder(operation.id), *made, &opened);
  if (absl::Status removed = RemoveFolder(Folder(operation.id)); !removed.ok()) {
    spdlog::warn("{}: {}", operation.target, std::string(removed.message()));
  }
  RETURN_IF_ERROR(status);
  return opened;
}

void Snapshots::UndoCopyNow(const GuestPtr& guest, const state::OperationRow& operation) {
  if (access(PauseMarker(table_->View(guest)).c_str(), F_OK) == 0) GoOn(guest).IgnoreError();
  RemoveFolder(Folder(operation.id)).IgnoreError();
}

}  // namespace umld
