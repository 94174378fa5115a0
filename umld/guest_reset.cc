// Reset: a guest's root disk is its image again.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "umld/guests.h"

namespace umld {
namespace {

constexpr char kRunning[] = "running";

// A clone may have others that umld keeps.
const state::DiskRow* ManagedDisk(const GuestView& view) {
  for (const state::DiskRow& disk : view.row.disks) {
    if (disk.managed && !disk.backing.empty() && disk.unit == 0 && !view.row.image.empty()) return &disk;
  }
  return nullptr;
}

// A disk that a kill would cut off in the middle of a write, and that a reset does not make new.
std::string OtherWritableDisk(const GuestView& view) {
  if (!view.alive) return "";
  for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
    const state::DiskRow* managed = ManagedDisk(view);
    if (live.unit() == managed->unit || absl::StrContains(live.flags(), 'r')) continue;
    return absl::StrCat(devices::DiskName(live.unit()), " (", live.path(), ")");
  }
  return "";
}

// Whether the file is younger than that; false where the file system does not tell.
bool MadeAfter(const std::string& path, int64_t unix_ns) {
  struct statx info = {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_BTIME, &info) != 0 || (info.stx_mask & STATX_BTIME) == 0) return false;
  return info.stx_btime.tv_sec * int64_t{1'000'000'000} + info.stx_btime.tv_nsec > unix_ns;
}

// The new COW file takes the old one's place in one step, so that one of the two is there whatever happens.
absl::Status RenewCow(const state::DiskRow& disk) {
  // Made at the first start: of a guest that has had none it is as new as can be.
  if (access(disk.path.c_str(), F_OK) != 0 && errno == ENOENT) return absl::OkStatus();
  const std::string fresh = disk.path + ".new";
  const std::string folder = disk.path.substr(0, disk.path.rfind('/'));
  // The folder is this guest's alone: what an earlier umld had begun is of no use.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (absl::StartsWith(entry.path().filename().string(), devices::kUnfinishedCow)) unlink(entry.path().c_str());
  }
  if (unlink(fresh.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, absl::StrCat("remove ", fresh));
  RETURN_IF_ERROR(devices::CreateCow(fresh, disk.backing));
  if (rename(fresh.c_str(), disk.path.c_str()) != 0) {
    const int error = errno;
    unlink(fresh.c_str());
    return ErrnoError(error, absl::StrCat("replace ", disk.path));
  }
  UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.ok() && fsync(fd.get()) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", folder));
}

}  // namespace

absl::StatusOr<OperationView> Guests::Reset(const v1::ResetGuestRequest& request) {
  ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(request.name()));
  const GuestView view = table_->View(guest);
  const std::string& name = view.row.name;
  if (ManagedDisk(view) == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("guest ", name, " was not made from an image, so there is nothing to reset it to"),
                     {"NO_IMAGE", view.name(), "make guests that can be reset with `umlctl create --image`"});
  }
  if (const std::string other = OtherWritableDisk(view); !other.empty() && !request.force()) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("guest ", name, " runs and writes to ", other,
                                  " too: to reset it now is a power cut for "
                                  "that one"),
                     {"OTHER_DISKS", view.name(),
                      absl::StrCat("`umlctl stop ", name, "` first, or `umlctl reset --force ", name, "`")});
  }
  return Begin(request.name(), "reset", view.alive ? kRunning : "", request.request_id(), false,
               [this](const GuestPtr& asked, const state::OperationRow& operation, bool resumed) {
                 return RunReset(asked, operation, resumed);
               });
}

absl::Status Guests::RunReset(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  const state::DiskRow disk = *ManagedDisk(view);
  const bool was_running = operation.payload == kRunning;
  // What has been written since an earlier umld made the disk new is not thrown away as well.
  const bool is_new = resumed && MadeAfter(disk.path, operation.created_ns);
  if (!is_new) {
    if (view.alive) {
      operations_->SetProgress(operation.id, 10, "ending it");
      RETURN_IF_ERROR(RunKill(guest, operation));
    }
    operations_->SetProgress(operation.id, 30, "making its disk new");
    RETURN_IF_ERROR(Annotate(RenewCow(disk), noun));
    state::EventRow event;
    event.type = "guest.reset";
    GuestTable::Change change;
    change.events = {event};
    change.edit = [](state::GuestRow& row) {
      row.snapshot_id = 0;  // its disks come from no snapshot any more
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(table_->Commit(guest, change));
  }
  return was_running ? RunStart(guest, operation, /*resumed=*/is_new) : absl::OkStatus();
}

}  // namespace umld
