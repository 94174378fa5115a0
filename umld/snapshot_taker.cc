#include "umld/snapshot_taker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/credentials.h"
#include "base/file.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"
#include "spdlog/spdlog.h"
#include "umld/guest_sync.h"
#include "umld/snapshot_copy.h"

namespace umld {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kResumeTries = 3;
constexpr absl::Duration kReachable = absl::Minutes(10);
// Guests that are waited for at once, and disks that are copied at once.
constexpr size_t kGuestsAtOnce = 32, kCopiesAtOnce = 4;

int64_t NanosecondsSince(Clock::time_point begin) { return std::chrono::nanoseconds(Clock::now() - begin).count(); }

// Calls `act` with the numbers below `count`, so many at once, and returns the first error in their order.
absl::Status InParallel(size_t count, size_t at_once, const std::function<absl::Status(size_t)>& act) {
  std::vector<absl::Status> results(count);
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) results[i] = act(i);
  };
  std::vector<std::thread> threads;
  try {
    for (size_t i = 1; i < std::min(count, at_once); ++i) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // The host has no more of them: fewer do it.
  }
  work();
  for (std::thread& thread : threads) thread.join();
  for (absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

// One disk on its way into a snapshot.
struct Copy {
  state::SnapshotDiskRow row;
  UniqueFd from;  // not open: the guest has never had the disk, and the copy is complete
  UniqueFd to;
};

// Opened as the user whose disk it is; the copy is umld's own.
absl::StatusOr<Copy> OpenCopy(const state::DiskRow& disk, const std::string& folder) {
  Copy copy;
  copy.row = {.unit = disk.unit, .path = disk.path, .backing = disk.backing};
  const std::string path = absl::StrCat(folder, "/", devices::DiskName(disk.unit));
  struct stat info = {};
  if (disk.managed && !disk.backing.empty() && stat(disk.path.c_str(), &info) != 0 && errno == ENOENT) {
    RETURN_IF_ERROR(devices::CreateCow(path, disk.backing));
    copy.to.reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!copy.to.ok() || fchmod(copy.to.get(), 0600) != 0) return ErrnoError(errno, path);
    return copy;
  }
  ASSIGN_OR_RETURN(devices::OpenDisk open, ActAs(disk.opener, [&] {
                     return devices::OpenDiskFile(disk.path, devices::DiskAccess::kRead, /*shared=*/true);
                   }));
  if (!S_ISREG(open.info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(disk.path, " is a device of the host, which umld does not copy"),
                     {"BLOCK_DEVICE", disk.path, "unplug it first, or take the snapshot with the device's own tools"});
  }
  copy.from = std::move(open.fd);
  ASSIGN_OR_RETURN(copy.to, NewFile(path));
  return copy;
}

absl::Status CopyDisk(const Copy& copy) {
  if (!copy.from.ok()) return absl::OkStatus();
  return Annotate(CopySparse(copy.from.get(), copy.to.get()),
                  absl::StrCat("disk ", devices::DiskName(copy.row.unit), ": ", copy.row.path));
}

absl::Status SyncCopy(Copy& copy) {
  struct stat info = {};
  if (fsync(copy.to.get()) != 0 || fstat(copy.to.get(), &info) != 0) {
    return ErrnoError(errno, absl::StrCat("sync the copy of ", copy.row.path));
  }
  copy.row.size_bytes = static_cast<uint64_t>(info.st_size);
  copy.row.allocated_bytes = static_cast<uint64_t>(info.st_blocks) * 512;
  return absl::OkStatus();
}

std::vector<std::string> LeftOut(const GuestView& view) {
  std::vector<std::string> left_out;
  for (const state::DiskRow& disk : view.row.disks) {
    if (absl::StrContains(disk.flags, 'r')) left_out.push_back(devices::DiskName(disk.unit) + ": read-only");
  }
  if (!view.alive) return left_out;
  for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
    const bool kept = std::any_of(view.row.disks.begin(), view.row.disks.end(),
                                  [&](const state::DiskRow& disk) { return disk.unit == live.unit(); });
    if (!kept) left_out.push_back(devices::DiskName(live.unit()) + ": plugged with --live-only");
  }
  return left_out;
}

absl::Status Exists(const std::string& guest, const std::string& id) {
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a snapshot \"", id, "\" already"),
                   {"SNAPSHOT_EXISTS", absl::StrCat("guests/", guest, "/snapshots/", id),
                    absl::StrCat("choose another name, or `umlctl snapshot delete ", guest, " ", id, "`")});
}

}  // namespace

struct SnapshotTaker::Member {
  GuestPtr guest;
  std::string noun;
  state::SnapshotRow row;
  std::vector<Copy> copies;
  VolumeCatalog::Hold hold;
  bool runs = false;
};

std::string SnapshotTaker::PauseMarker(const GuestView& view) const {
  return config_->GuestRunDir(view.row.id) + "/paused-for-snapshot";
}

absl::StatusOr<SnapshotTaker::Member> SnapshotTaker::Prepare(const GuestPtr& guest, const state::SnapshotRow& like,
                                                             uint64_t id) {
  const GuestView view = table_->View(guest);
  const v1::GuestState state = view.state();
  Member member;
  member.guest = guest;
  member.noun = absl::StrCat("guest ", view.row.name);
  member.row = like;
  member.row.id = id;
  member.row.guest_id = view.row.id;
  member.row.parent_id = view.row.snapshot_id;
  member.row.synced = !view.alive;
  member.row.left_out = LeftOut(view);
  member.runs = view.alive && state == v1::RUNNING;
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> others, store_->LoadSnapshotsOf(view.row.id));
  if (std::any_of(others.begin(), others.end(), [&](const auto& other) { return other.name == like.name; })) {
    return Exists(view.row.name, like.name);
  }
  if (view.alive && state != v1::RUNNING && state != v1::PAUSED) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("it is ", v1::GuestState_Name(state)),
                     {"WRONG_STATE", view.name(), "wait until it runs or has stopped"});
  }
  ASSIGN_OR_RETURN(member.hold, volumes_->Use(view.row.disks));
  const std::string folder = config_->SnapshotDir(id);
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  for (const state::DiskRow& disk : view.row.disks) {
    if (absl::StrContains(disk.flags, 'r')) continue;
    absl::StatusOr<Copy> copy = OpenCopy(disk, folder);
    if (!copy.ok()) return Annotate(copy.status(), absl::StrCat("disk ", devices::DiskName(disk.unit)));
    member.copies.push_back(*std::move(copy));
  }
  if (member.copies.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "it has no writable disk of which to take a snapshot",
                     {"NO_DISKS", view.name(), "give it one with `umlctl plug`"});
  }
  return member;
}

absl::StatusOr<std::vector<state::SnapshotRow>> SnapshotTaker::Take(const std::vector<GuestPtr>& guests,
                                                                    const state::SnapshotRow& like,
                                                                    uint64_t operation) {
  RETURN_IF_ERROR(MakeFolders(config_->state_dir + "/snapshots", 0700));
  // All that can be refused is refused before anything is asked of a guest.
  std::vector<Member> members;
  for (const GuestPtr& guest : guests) {
    absl::StatusOr<Member> member = Prepare(guest, like, Id(operation, members.size()));
    if (!member.ok()) return Annotate(member.status(), absl::StrCat("guest ", table_->View(guest).row.name));
    members.push_back(*std::move(member));
  }
  operations_->SetProgress(operation, 10, "having memory written out");
  RETURN_IF_ERROR(InParallel(members.size(), kGuestsAtOnce, [&](size_t i) {
    Member& member = members[i];
    const std::string log = config_->ConsoleLog(member.row.guest_id, "con0");
    if (member.runs) member.row.synced = SyncGuest(runtime_, *table_, member.guest, log);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(CopyTogether(members, operation));

  operations_->SetProgress(operation, 80, "writing the copies to the disk");
  std::vector<state::SnapshotRow> rows;
  for (Member& member : members) {
    for (Copy& copy : member.copies) {
      RETURN_IF_ERROR(Annotate(SyncCopy(copy), member.noun));
      member.row.disks.push_back(copy.row);
    }
    RETURN_IF_ERROR(SyncFolder(config_->SnapshotDir(member.row.id)));
    rows.push_back(member.row);
  }
  RETURN_IF_ERROR(SyncFolder(config_->state_dir + "/snapshots"));
  RETURN_IF_ERROR(SyncFolder(config_->state_dir));
  return rows;
}

absl::Status SnapshotTaker::CopyTogether(std::vector<Member>& members, uint64_t operation) {
  std::vector<Member*> running;
  std::vector<std::pair<const Member*, const Copy*>> copies;
  for (Member& member : members) {
    if (member.runs) running.push_back(&member);
    for (const Copy& copy : member.copies) copies.emplace_back(&member, &copy);
  }
  std::vector<Clock::time_point> begun(running.size());
  const auto for_running = [&](const std::function<absl::Status(size_t)>& act) {
    return InParallel(running.size(), kGuestsAtOnce, [&](size_t i) { return Annotate(act(i), running[i]->noun); });
  };
  absl::Status status = for_running([&](size_t i) {
    const GuestPtr& guest = running[i]->guest;
    begun[i] = Clock::now();
    RETURN_IF_ERROR(WriteFileDurably(PauseMarker(table_->View(guest)), "", 0600));
    table_->Update(guest, [](GuestView& now) { now.pause_reason = "a snapshot of it is being taken"; });
    begun[i] = Clock::now();
    return guests_->Pause(guest).status();
  });
  // From here on all of them stand still.
  const Clock::time_point all_still = Clock::now();
  const int64_t now_ns = absl::ToUnixNanos(absl::Now());
  operations_->SetProgress(operation, 30, "copying the disks");
  if (status.ok()) {
    status = InParallel(copies.size(), kCopiesAtOnce,
                        [&](size_t i) { return Annotate(CopyDisk(*copies[i].second), copies[i].first->noun); });
  }
  const int64_t together_ns = running.empty() ? 0 : NanosecondsSince(all_still);
  // Also those whose pause has failed: it may have come after all.
  const absl::Status resumed = for_running([&](size_t i) {
    absl::Status went_on = GoOn(running[i]->guest);
    running[i]->row.paused_ns = NanosecondsSince(begun[i]);
    return went_on;
  });
  for (Member& member : members) {
    member.row.created_ns = now_ns;
    member.row.together_ns = together_ns;
  }
  return status.ok() ? resumed : status;
}

void SnapshotTaker::LetGoOn(const std::vector<GuestPtr>& guests) {
  InParallel(guests.size(), kGuestsAtOnce, [&](size_t i) { return GoOn(guests[i]); }).IgnoreError();
}

void SnapshotTaker::LetGoOnLater(const std::vector<GuestPtr>& guests) {
  for (const GuestPtr& guest : guests) {
    if (access(PauseMarker(table_->View(guest)).c_str(), F_OK) != 0) continue;
    guests_->InLine(table_->View(guest).row.name, [this](const absl::StatusOr<GuestPtr>& found) {
      if (!found.ok()) return;
      table_->WaitUntil(*found, kReachable,
                        [](const GuestView& view) { return !view.alive || view.unreachable_reason.empty(); });
      GoOn(*found).IgnoreError();
    });
  }
}

absl::Status SnapshotTaker::GoOn(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  if (access(PauseMarker(view).c_str(), F_OK) != 0) return absl::OkStatus();
  absl::Status status;
  for (int i = 0; i < kResumeTries; ++i) {
    status = guests_->Resume(guest).status();
    if (status.ok() || !table_->View(guest).alive) break;
    spdlog::error("guest {}: after a snapshot: {}", view.row.name, std::string(status.message()));
  }
  table_->Update(guest, [](GuestView& now) { now.pause_reason.clear(); });
  // Left behind when it could not be told: the next umld tries again.
  if (status.ok() || !table_->View(guest).alive) unlink(PauseMarker(view).c_str());
  return status;
}

}  // namespace umld
