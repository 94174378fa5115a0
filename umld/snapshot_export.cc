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

absl::StatusOr<state::SnapshotRow> Snapshots::CopyDisks(const GuestPtr& guest, const state::OperationRow& operation) {
  absl::StatusOr<std::vector<state::SnapshotRow>> made = taker_.Take({guest}, state::SnapshotRow(), operation.id);
  if (made.ok()) return std::move(made->front());
  RemoveFolder(config_->SnapshotDir(SnapshotTaker::Id(operation.id, 0))).IgnoreError();
  taker_.LetGoOnLater({guest});
  return made.status();
}

void Snapshots::GoOnIfPaused(const GuestPtr& guest) {
  taker_.LetGoOn({guest});
  taker_.LetGoOnLater({guest});
}

absl::StatusOr<Snapshots::OpenDisks> Snapshots::Open(const std::string& name) {
  ASSIGN_OR_RETURN(const Found found, Find(name));
  OpenDisks opened;
  RETURN_IF_ERROR(OpenCopies(config_->SnapshotDir(found.row.id), found.row, &opened));
  return opened;
}

absl::StatusOr<Snapshots::OpenDisks> Snapshots::CopyNow(const GuestPtr& guest, const state::OperationRow& operation) {
  table_->Update(guest, [&](GuestView& view) { view.operation = operation.id; });
  const absl::StatusOr<state::SnapshotRow> made = CopyDisks(guest, operation);
  table_->Update(guest, [](GuestView& view) { view.operation = 0; });
  RETURN_IF_ERROR(made.status());
  OpenDisks opened;
  const std::string folder = config_->SnapshotDir(made->id);
  const absl::Status status = OpenCopies(folder, *made, &opened);
  if (absl::Status removed = RemoveFolder(folder); !removed.ok()) {
    spdlog::warn("{}: {}", operation.target, std::string(removed.message()));
  }
  RETURN_IF_ERROR(status);
  return opened;
}

}  // namespace umld
