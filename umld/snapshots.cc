#include "umld/snapshots.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/credentials.h"
#include "base/file.h"
#include "base/status.h"
#include "base/umid.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"
#include "google/protobuf/util/time_util.h"
#include "spdlog/spdlog.h"
#include "umld/snapshot_copy.h"

namespace umld {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kCreate[] = "snapshot", kRestore[] = "restore-snapshot";
constexpr char kBetween[] = "/snapshots/";
constexpr size_t kMaxDescription = 4096;
constexpr size_t kDefaultPage = 100, kMaxPage = 1000;

constexpr absl::Duration kSyncPatience = absl::Seconds(10), kLookForSync = absl::Milliseconds(10);
constexpr char kSynced[] = "Emergency Sync complete";
constexpr size_t kLogTail = 64 << 10;
constexpr int kResumeTries = 3;

absl::Status NoSuchSnapshot(const std::string& guest, absl::string_view id) {
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", guest, " has no snapshot \"", id, "\""),
                   {"SNAPSHOT_NOT_FOUND", absl::StrCat("guests/", guest, kBetween, id),
                    absl::StrCat("`umlctl snapshot list ", guest, "` shows those it has")});
}

absl::Status Exists(const std::string& guest, const std::string& id) {
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a snapshot \"", id, "\" already"),
                   {"SNAPSHOT_EXISTS", absl::StrCat("guests/", guest, kBetween, id),
                    absl::StrCat("choose another name, or `umlctl snapshot delete ", guest, " ", id, "`")});
}

absl::Status Interrupted(const state::OperationRow& operation, absl::string_view left) {
  return MakeError(absl::StatusCode::kAborted, absl::StrCat("umld was restarted in the middle of it; ", left),
                   {"INTERRUPTED", operation.target, "ask for it again"});
}

v1::Snapshot Show(const state::SnapshotRow& row, const GuestView& view) {
  v1::Snapshot shown;
  shown.set_name(absl::StrCat(view.name(), kBetween, row.name));
  shown.set_description(row.description);
  *shown.mutable_create_time() = TimeUtil::NanosecondsToTimestamp(row.created_ns);
  *shown.mutable_paused() = TimeUtil::NanosecondsToDuration(row.paused_ns);
  shown.set_synced(row.synced);
  uint64_t allocated = 0;
  for (const state::SnapshotDiskRow& disk : row.disks) {
    v1::SnapshotDisk* one = shown.add_disks();
    one->set_device(devices::DiskName(disk.unit));
    one->set_path(disk.path);
    one->set_backing(disk.backing);
    one->set_size_bytes(disk.size_bytes);
    one->set_allocated_bytes(disk.allocated_bytes);
    allocated += disk.allocated_bytes;
  }
  shown.set_allocated_bytes(allocated);
  return shown;
}

absl::Status SyncFolder(const std::string& folder) {
  UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.ok() && fsync(fd.get()) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", folder));
}

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

bool IsThere(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

absl::StatusOr<UniqueFd> NewFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  return fd;
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

absl::Status CopyAll(std::vector<Copy>& copies) {
  for (Copy& copy : copies) {
    if (!copy.from.ok()) continue;
    RETURN_IF_ERROR(Annotate(CopySparse(copy.from.get(), copy.to.get()),
                             absl::StrCat("disk ", devices::DiskName(copy.row.unit), ": ", copy.row.path)));
  }
  return absl::OkStatus();
}

// The guest's disk in the place of which the copy goes; null: it has another one there, or none.
const state::DiskRow* DiskFor(const GuestView& view, const state::SnapshotDiskRow& wanted) {
  for (const state::DiskRow& disk : view.row.disks) {
    if (disk.unit == wanted.unit && disk.path == wanted.path && disk.backing == wanted.backing) return &disk;
  }
  return nullptr;
}

std::string StagedPath(const std::string& path, uint64_t operation) {
  return absl::StrCat(path, ".restore-", operation);
}

void RemoveStaged(const GuestView& view, const state::SnapshotRow& snapshot, uint64_t operation) {
  for (const state::SnapshotDiskRow& wanted : snapshot.disks) {
    const state::DiskRow* disk = DiskFor(view, wanted);
    if (disk == nullptr) continue;
    absl::Status removed = ActAs(disk->opener, [&] {
      const std::string staged = StagedPath(disk->path, operation);
      return unlink(staged.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, staged);
    });
    if (!removed.ok()) spdlog::warn("guest {}: {}", view.row.name, std::string(removed.message()));
  }
}

// A new file beside the disk's, with its owner and mode, whole and synced.
absl::Status StageDisk(const std::string& copy, const state::DiskRow& disk, uint64_t operation) {
  UniqueFd from(open(copy.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.ok()) return ErrnoError(errno, absl::StrCat("open ", copy));
  const std::string staged = StagedPath(disk.path, operation);
  return ActAs(disk.opener, [&]() -> absl::Status {
    struct stat old = {};
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
    if (fchmod(to.get(), is_there ? old.st_mode & 07777 : 0600) != 0) return ErrnoError(errno, staged);
    if (fsync(to.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", staged));
    return SyncFolder(FolderOf(staged));
  });
}

// What an earlier umld had renamed already is there no more.
absl::Status Swap(const state::DiskRow& disk, uint64_t operation) {
  return ActAs(disk.opener, [&]() -> absl::Status {
    const std::string staged = StagedPath(disk.path, operation);
    if (rename(staged.c_str(), disk.path.c_str()) != 0 && errno != ENOENT) {
      return ErrnoError(errno, absl::StrCat("replace ", disk.path));
    }
    return SyncFolder(FolderOf(disk.path));
  });
}

}  // namespace

std::string Snapshots::Folder(uint64_t id) const { return absl::StrCat(config_->state_dir, kBetween, id); }

std::string Snapshots::PauseMarker(const GuestView& view) const {
  return config_->GuestRunDir(view.row.id) + "/paused-for-snapshot";
}

std::string Snapshots::RestoreMarker(uint64_t snapshot, uint64_t operation) const {
  return absl::StrCat(Folder(snapshot), "/restore-", operation);
}

absl::Status Snapshots::RemoveLeftovers() {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshots());
  std::set<std::string> needed;
  for (const state::SnapshotRow& row : rows) needed.insert(absl::StrCat(row.id));
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(config_->state_dir + "/snapshots", ignored)) {
    const std::string name = entry.path().filename().string();
    uint64_t id = 0;
    if (!absl::SimpleAtoi(name, &id) || needed.count(name) != 0) continue;
    if (absl::Status status = RemoveFolder(entry.path().string()); !status.ok()) {
      spdlog::warn("{}", std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<state::SnapshotRow> Snapshots::Reload(uint64_t id) {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshots());
  for (const state::SnapshotRow& row : rows) {
    if (row.id == id) return row;
  }
  return MakeError(absl::StatusCode::kNotFound, "the snapshot has been deleted", {"SNAPSHOT_NOT_FOUND", "", ""});
}

absl::StatusOr<Snapshots::Found> Snapshots::Find(const std::string& name) {
  const size_t at = name.find(kBetween);
  if (at == std::string::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", name, "\" is not a snapshot's name"),
                     {"INVALID_NAME", name, "write guests/GUEST/snapshots/NAME"});
  }
  Found found;
  ASSIGN_OR_RETURN(found.guest, table_->Find(name.substr(0, at)));
  const std::string id = name.substr(at + sizeof(kBetween) - 1);
  const GuestView view = table_->View(found.guest);
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshots());
  for (const state::SnapshotRow& row : rows) {
    if (row.guest_id != view.row.id || row.name != id) continue;
    found.row = row;
    return found;
  }
  return NoSuchSnapshot(view.row.name, id);
}

absl::StatusOr<v1::Snapshot> Snapshots::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const Found found, Find(name));
  return Show(found.row, table_->View(found.guest));
}

absl::StatusOr<v1::ListSnapshotsResponse> Snapshots::List(const v1::ListSnapshotsRequest& request) {
  uint64_t after = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &after)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the page token is not one of ours",
                     {"INVALID_PAGE_TOKEN", "", "begin again without it"});
  }
  std::vector<GuestPtr> guests = table_->All();
  if (!request.guest().empty()) {
    ASSIGN_OR_RETURN(GuestPtr only, table_->Find(request.guest()));
    guests = {only};
  }
  const size_t size = request.page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page_size(), kMaxPage);
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshots());
  v1::ListSnapshotsResponse response;
  uint64_t last = 0;
  for (const state::SnapshotRow& row : rows) {
    if (row.id <= after) continue;
    for (const GuestPtr& guest : guests) {
      const GuestView view = table_->View(guest);
      if (view.row.id != row.guest_id) continue;
      if (static_cast<size_t>(response.snapshots_size()) == size) {
        response.set_next_page_token(absl::StrCat(last));
        return response;
      }
      *response.add_snapshots() = Show(row, view);
      last = row.id;
    }
  }
  return response;
}

absl::Status Snapshots::Commit(const std::string& type, const GuestView& view, const std::string& snapshot,
                               const state::OperationRow* operation,
                               const std::function<absl::Status(state::Transaction&)>& change) {
  std::vector<state::EventRow> events(1);
  events[0].type = type;
  events[0].subject = view.name();
  events[0].guest_state = view.state();
  events[0].message = snapshot;
  events[0].time_ns = absl::ToUnixNanos(absl::Now());
  std::optional<state::OperationRow> done;
  if (operation != nullptr) done = Operations::Outcome(*operation, absl::OkStatus());
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(change(transaction));
    if (done.has_value()) RETURN_IF_ERROR(transaction.UpdateOperation(*done));
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    return absl::OkStatus();
  }));
  events_->Publish(events);
  if (done.has_value()) operations_->Published(*done);
  return absl::OkStatus();
}

// ---------------------------------------------------------------- create

absl::StatusOr<OperationView> Snapshots::Create(const v1::CreateSnapshotRequest& request) {
  ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(request.guest()));
  const GuestView view = table_->View(guest);
  v1::CreateSnapshotRequest wanted = request;
  if (wanted.snapshot_id().empty()) {
    wanted.set_snapshot_id(absl::FormatTime("%Y%m%dT%H%M%SZ", absl::Now(), absl::UTCTimeZone()));
  }
  RETURN_IF_ERROR(Annotate(Umid::Parse(wanted.snapshot_id()).status(), "the snapshot's name"));
  if (wanted.description().size() > kMaxDescription) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the description is longer than 4,096 bytes",
                     {"INVALID_DESCRIPTION", view.name(), "shorten it"});
  }
  state::OperationRow row;
  row.verb = kCreate;
  row.guest_id = view.row.id;
  row.target = absl::StrCat(view.name(), kBetween, wanted.snapshot_id());
  row.payload = wanted.SerializeAsString();
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  guests_->InLine(view.row.name, [this, operation = begun.row](const absl::StatusOr<GuestPtr>& found) {
    const absl::Status status = found.ok() ? RunCreate(*found, operation) : found.status();
    if (!status.ok()) operations_->Finish(operation, status);
  });
  return OperationView{.row = begun.row};
}

absl::Status Snapshots::RunCreate(const GuestPtr& guest, const state::OperationRow& operation) {
  const std::string noun = absl::StrCat("guest ", table_->View(guest).row.name);
  table_->Update(guest, [&](GuestView& view) { view.operation = operation.id; });
  absl::StatusOr<state::SnapshotRow> made = Make(guest, operation);
  table_->Update(guest, [](GuestView& view) { view.operation = 0; });
  absl::Status status = made.status();
  if (status.ok()) {
    status = Commit("guest.snapshot", table_->View(guest), made->name, &operation,
                    [&](state::Transaction& transaction) { return transaction.InsertSnapshot(*made); });
  }
  if (status.ok()) return status;
  if (absl::Status removed = RemoveFolder(Folder(operation.id)); !removed.ok()) {
    spdlog::warn("{}: {}", noun, std::string(removed.message()));
  }
  return Annotate(status, noun);
}

absl::StatusOr<state::SnapshotRow> Snapshots::Make(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  v1::CreateSnapshotRequest request;
  request.ParseFromString(operation.payload);
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> others, store_->LoadSnapshots());
  for (const state::SnapshotRow& other : others) {
    if (other.guest_id == view.row.id && other.name == request.snapshot_id()) {
      return Exists(view.row.name, other.name);
    }
  }
  const v1::GuestState state = view.state();
  if (view.alive && state != v1::RUNNING && state != v1::PAUSED) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("it is ", v1::GuestState_Name(state)),
                     {"WRONG_STATE", view.name(), "wait until it runs or has stopped"});
  }
  const std::string folder = Folder(operation.id);
  RETURN_IF_ERROR(MakeFolders(config_->state_dir + "/snapshots", 0700));
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  std::vector<Copy> copies;
  for (const state::DiskRow& disk : view.row.disks) {
    if (absl::StrContains(disk.flags, 'r')) continue;
    absl::StatusOr<Copy> copy = OpenCopy(disk, folder);
    if (!copy.ok()) return Annotate(copy.status(), absl::StrCat("disk ", devices::DiskName(disk.unit)));
    copies.push_back(*std::move(copy));
  }
  if (copies.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "it has no writable disk of which to take a snapshot",
                     {"NO_DISKS", view.name(), "give it one with `umlctl plug`"});
  }

  state::SnapshotRow row;
  row.id = operation.id;
  row.guest_id = view.row.id;
  row.name = request.snapshot_id();
  row.description = request.description();
  const bool runs = view.alive && state == v1::RUNNING;
  row.synced = !view.alive;
  if (runs) {
    operations_->SetProgress(operation.id, 10, "having it write out its memory");
    row.synced = Sync(guest);
    RETURN_IF_ERROR(WriteFileDurably(PauseMarker(view), "", 0600));
    table_->Update(guest, [](GuestView& now) { now.pause_reason = "a snapshot of it is being taken"; });
  }
  operations_->SetProgress(operation.id, 30, "copying its disks");
  const auto begin = std::chrono::steady_clock::now();
  absl::Status status = runs ? guests_->Pause(guest).status() : absl::OkStatus();
  row.created_ns = absl::ToUnixNanos(absl::Now());
  if (status.ok()) status = CopyAll(copies);
  if (runs) {
    // Also when the pause has failed: it may have come after all.
    const absl::Status resumed = GoOn(guest);
    row.paused_ns = std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
    if (status.ok()) status = resumed;
  }
  RETURN_IF_ERROR(status);

  operations_->SetProgress(operation.id, 80, "writing the copies to the disk");
  for (Copy& copy : copies) {
    struct stat info = {};
    if (fsync(copy.to.get()) != 0 || fstat(copy.to.get(), &info) != 0) {
      return ErrnoError(errno, absl::StrCat("sync the copy of ", copy.row.path));
    }
    copy.row.size_bytes = static_cast<uint64_t>(info.st_size);
    copy.row.allocated_bytes = static_cast<uint64_t>(info.st_blocks) * 512;
    row.disks.push_back(copy.row);
  }
  RETURN_IF_ERROR(SyncFolder(folder));
  RETURN_IF_ERROR(SyncFolder(FolderOf(folder)));
  RETURN_IF_ERROR(SyncFolder(config_->state_dir));
  return row;
}

bool Snapshots::Sync(const GuestPtr& guest) {
  // The kernel answers at once and syncs afterwards; its own messages say when it is done.
  const std::string log = config_->ConsoleLog(table_->View(guest).row.id, "con0");
  struct stat before = {};
  if (stat(log.c_str(), &before) != 0) before.st_size = 0;
  vmcore::v1::Request request;
  request.mutable_mconsole()->set_command("sysrq s");
  if (absl::Status asked = runtime_->Call(guest, request, absl::Seconds(12)).status(); !asked.ok()) {
    spdlog::warn("guest {}: sync: {}", table_->View(guest).row.name, std::string(asked.message()));
    return false;
  }
  for (const absl::Time end = absl::Now() + kSyncPatience; absl::Now() < end; absl::SleepFor(kLookForSync)) {
    UniqueFd fd(open(log.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat now = {};
    if (!fd.ok() || fstat(fd.get(), &now) != 0) continue;
    // A log that has been rotated begins anew.
    const off_t from = now.st_ino == before.st_ino && now.st_size >= before.st_size ? before.st_size : 0;
    std::string tail(kLogTail, '\0');
    const ssize_t got = pread(fd.get(), tail.data(), tail.size(), from);
    if (got > 0 && absl::StrContains(absl::string_view(tail.data(), static_cast<size_t>(got)), kSynced)) return true;
  }
  return false;
}

absl::Status Snapshots::GoOn(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
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

absl::StatusOr<state::SnapshotRow> Snapshots::CopyDisks(const GuestPtr& guest, const state::OperationRow& operation) {
  state::OperationRow unnamed = operation;
  unnamed.payload.clear();  // a request for a snapshot without a name, which none has
  absl::StatusOr<state::SnapshotRow> made = Make(guest, unnamed);
  if (!made.ok()) RemoveFolder(Folder(operation.id)).IgnoreError();
  return made;
}

void Snapshots::GoOnIfPaused(const GuestPtr& guest) {
  if (IsThere(PauseMarker(table_->View(guest)))) GoOn(guest).IgnoreError();
}

// ---------------------------------------------------------------- restore

absl::StatusOr<OperationView> Snapshots::Restore(const v1::RestoreSnapshotRequest& request) {
  ASSIGN_OR_RETURN(const Found found, Find(request.name()));
  const GuestView view = table_->View(found.guest);
  state::OperationRow row;
  row.verb = kRestore;
  row.guest_id = view.row.id;
  row.target = absl::StrCat(view.name(), kBetween, found.row.name);
  row.payload = absl::StrCat(found.row.id);
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  guests_->InLine(view.row.name, [this, operation = begun.row](const absl::StatusOr<GuestPtr>& guest) {
    const absl::Status status = guest.ok() ? RunRestore(*guest, operation, /*resumed=*/false) : guest.status();
    if (!status.ok()) operations_->Finish(operation, status);
  });
  return OperationView{.row = begun.row};
}

absl::Status Snapshots::Stage(const GuestView& view, const state::SnapshotRow& snapshot, uint64_t operation) {
  if (view.alive) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("it is ", v1::GuestState_Name(view.state()), ", and its disks are in use"),
                     {"RUNNING", view.name(), absl::StrCat("`umlctl stop ", view.row.name, "` first")});
  }
  for (const state::SnapshotDiskRow& wanted : snapshot.disks) {
    const state::DiskRow* disk = DiskFor(view, wanted);
    if (disk == nullptr) {
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("its ", devices::DiskName(wanted.unit), " is not ", wanted.path,
                                    " any more, of which the snapshot was taken"),
                       {"DISKS_DIFFER", view.name(),
                        absl::StrCat("plug that one again (`umlctl plug ", view.row.name, " ",
                                     devices::DiskName(wanted.unit), "=", wanted.path, "`)")});
    }
  }
  // Of a guest that has never been started there is none.
  RETURN_IF_ERROR(MakeFolders(config_->GuestStateDir(view.row.id), 0700));
  for (const state::SnapshotDiskRow& wanted : snapshot.disks) {
    const std::string copy = absl::StrCat(Folder(snapshot.id), "/", devices::DiskName(wanted.unit));
    RETURN_IF_ERROR(Annotate(StageDisk(copy, *DiskFor(view, wanted), operation),
                             absl::StrCat("disk ", devices::DiskName(wanted.unit))));
  }
  return WriteFileDurably(RestoreMarker(snapshot.id, operation), "", 0600);
}

absl::Status Snapshots::RunRestore(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  uint64_t id = 0;
  if (!absl::SimpleAtoi(operation.payload, &id)) id = 0;
  ASSIGN_OR_RETURN(const state::SnapshotRow snapshot, Reload(id));
  const std::string marker = RestoreMarker(id, operation.id);
  if (resumed && !IsThere(marker)) {
    RemoveStaged(view, snapshot, operation.id);
    return Annotate(Interrupted(operation, "the disks are as they were"), noun);
  }
  if (!resumed) {
    operations_->SetProgress(operation.id, 10, "copying its disks");
    if (absl::Status staged = Stage(view, snapshot, operation.id); !staged.ok()) {
      unlink(marker.c_str());
      RemoveStaged(view, snapshot, operation.id);
      return Annotate(staged, noun);
    }
  }
  for (const state::SnapshotDiskRow& wanted : snapshot.disks) {
    const state::DiskRow* disk = DiskFor(view, wanted);
    const absl::Status swapped = disk == nullptr ? absl::OkStatus() : Swap(*disk, operation.id);
    if (swapped.ok()) continue;
    // The first was not replaced, so none is.
    if (!resumed && &wanted == &snapshot.disks.front()) {
      unlink(marker.c_str());
      RemoveStaged(view, snapshot, operation.id);
    }
    return Annotate(swapped, absl::StrCat(noun, ": disk ", devices::DiskName(wanted.unit)));
  }
  RETURN_IF_ERROR(
      Commit("guest.restored", view, snapshot.name, &operation, [](state::Transaction&) { return absl::OkStatus(); }));
  unlink(marker.c_str());
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the rest

void Snapshots::Delete(const std::string& name, std::function<void(absl::Status)> done) {
  const absl::StatusOr<Found> found = Find(name);
  if (!found.ok()) return done(found.status());
  const std::string guest_name = table_->View(found->guest).row.name;
  guests_->InLine(guest_name, [this, row = found->row, done](const absl::StatusOr<GuestPtr>& guest) {
    if (!guest.ok()) return done(guest.status());
    const GuestView view = table_->View(*guest);
    // The row goes first: files without a row are removed at the next start.
    absl::Status status = Commit("guest.snapshot_deleted", view, row.name, nullptr,
                                 [&](state::Transaction& transaction) { return transaction.DeleteSnapshot(row.id); });
    if (status.ok()) status = RemoveFolder(Folder(row.id));
    done(Annotate(status, absl::StrCat("guest ", view.row.name, ": snapshot ", row.name)));
  });
}

bool Snapshots::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kCreate && operation.verb != kRestore) return false;
  operations_->Resume(operation);
  GuestPtr guest;
  for (const GuestPtr& candidate : table_->All()) {
    if (table_->View(candidate).row.id == operation.guest_id) guest = candidate;
  }
  if (guest == nullptr) {
    operations_->Finish(operation, Interrupted(operation, "the guest is gone"));
    return true;
  }
  spdlog::info("{}: {} of {} goes on", OperationName(operation.id), operation.verb, operation.target);
  guests_->InLine(table_->View(guest).row.name, [this, operation](const absl::StatusOr<GuestPtr>& found) {
    if (!found.ok()) return operations_->Finish(operation, found.status());
    if (operation.verb == kRestore) {
      const absl::Status status = RunRestore(*found, operation, /*resumed=*/true);
      if (!status.ok()) operations_->Finish(operation, status);
      return;
    }
    const GuestView view = table_->View(*found);
    if (IsThere(PauseMarker(view))) GoOn(*found).IgnoreError();
    RemoveFolder(Folder(operation.id)).IgnoreError();
    operations_->Finish(operation, Interrupted(operation, "there is no snapshot"));
  });
  return true;
}

}  // namespace umld
