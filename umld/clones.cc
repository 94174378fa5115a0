#include "umld/clones.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "base/umid.h"
#include "devices/disk/disk_spec.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/clone_disks.h"
#include "umld/clone_plan.h"
#include "umld/identity.h"
#include "umld/vmcore_launch.h"

namespace umld {
namespace {

constexpr char kVerb[] = "clone";
constexpr char kGuests[] = "guests/", kBetween[] = "/snapshots/";
// In a state folder whose guest is not committed yet.
constexpr char kUnfinished[] = "/unfinished-clone";
// One at a time: umld/appliance.h. No guest has this id.
constexpr uint64_t kIdentityLine = std::numeric_limits<uint64_t>::max();

absl::Status NameTaken(const std::string& name, absl::string_view message) {
  return MakeError(absl::StatusCode::kAlreadyExists, message,
                   {"GUEST_EXISTS", absl::StrCat(kGuests, name), "choose another name, or delete that one"});
}

// An operation remembers which guest its disks come from, and at its end what it has to report.
std::string Payload(uint64_t source_id, const v1::CloneReport& report) {
  return absl::StrCat(source_id, "\n", report.SerializeAsString());
}

uint64_t SourceOf(const state::OperationRow& operation) {
  uint64_t id = 0;
  return absl::SimpleAtoi(operation.payload.substr(0, operation.payload.find('\n')), &id) ? id : 0;
}

void RemoveWithWarning(const std::string& folder) {
  if (absl::Status removed = RemoveFolder(folder); !removed.ok()) spdlog::warn("{}", std::string(removed.message()));
}

}  // namespace

// One clone on its way; on one thread at a time.
struct Clones::Work {
  Caller caller;
  std::string source;  // as it was asked for
  std::string name;
  uint64_t source_id = 0;
  std::string snapshot;      // its name; empty: as the guest is now
  uint64_t snapshot_id = 0;  // 0: none
  bool same_identity = false;
  state::OperationRow operation;
  // From here on as Plan and Copy find them.
  state::GuestRow source_row;
  ClonePlan plan;
  state::GuestRow row;
  v1::CloneReport report;
  VolumeCatalog::Hold hold;  // of the volumes that it shares

  std::string noun() const { return absl::StrCat("guest ", name); }
  void AddNotes(const std::vector<std::string>& notes) { report.mutable_notes()->Add(notes.begin(), notes.end()); }
};

std::string Clones::Folder(uint64_t operation) const { return absl::StrCat(config_->state_dir, "/clones/", operation); }

std::string Clones::RunFolder(uint64_t operation) const {
  return absl::StrCat(config_->run_dir, "/clones/", operation);
}

void Clones::RemoveLeftovers() {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(config_->run_dir + "/clones", ignored)) {
    if (absl::Status ended = EndSupervisor(*config_, entry.path().string()); !ended.ok()) {
      spdlog::error("{}", std::string(ended.message()));
    }
  }
  RemoveWithWarning(config_->state_dir + "/clones");
  std::set<std::string> known;
  for (const GuestView& view : table_->Views()) known.insert(absl::StrCat(view.row.id));
  for (const auto& entry : std::filesystem::directory_iterator(config_->state_dir + "/guests", ignored)) {
    const std::string folder = entry.path().string();
    if (access((folder + kUnfinished).c_str(), F_OK) != 0) continue;
    if (known.count(entry.path().filename().string()) > 0) {
      unlink((folder + kUnfinished).c_str());
    } else {
      RemoveWithWarning(folder);
    }
  }
}

absl::StatusOr<state::SnapshotRow> Clones::SnapshotOf(const Work& work) const {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshotsOf(work.source_id));
  for (const state::SnapshotRow& row : rows) {
    const bool meant = work.snapshot_id == 0 || row.id == work.snapshot_id;
    if (meant && row.name == work.snapshot) return row;
  }
  const std::string guest(absl::StripPrefix(work.source.substr(0, work.source.find(kBetween)), kGuests));
  return NoSuchSnapshot(guest, work.snapshot);
}

absl::StatusOr<Clones::WorkPtr> Clones::Prepare(const v1::CloneGuestRequest& request, const Caller& caller) {
  auto work = std::make_shared<Work>();
  work->caller = caller;
  work->source = request.source();
  work->same_identity = request.same_identity();
  ASSIGN_OR_RETURN(const Umid umid, Umid::Parse(absl::StripPrefix(request.guest_id(), kGuests)));
  work->name = umid.str();
  const size_t between = request.source().find(kBetween);
  ASSIGN_OR_RETURN(const GuestPtr source, table_->Find(request.source().substr(0, between)));
  work->source_id = table_->View(source).row.id;
  RETURN_IF_ERROR(CheckUnconfined(table_->View(source), "a copy of a guest that is not confined", caller));
  if (between != std::string::npos) {
    work->snapshot = request.source().substr(between + sizeof(kBetween) - 1);
    ASSIGN_OR_RETURN(const state::SnapshotRow snapshot, SnapshotOf(*work));
    work->snapshot_id = snapshot.id;
  }
  // What can be refused is refused at once; it is looked at again when the source's line is ours.
  RETURN_IF_ERROR(Plan(source, work.get()));
  return work;
}

absl::StatusOr<OperationView> Clones::Clone(const v1::CloneGuestRequest& request, const Caller& caller) {
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(const auto earlier, store_->FindOperationByRequestId(request.request_id()));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  ASSIGN_OR_RETURN(const WorkPtr work, Prepare(request, caller));
  {
    absl::MutexLock lock(&mutex_);
    if (!names_.insert(work->name).second) {
      return NameTaken(work->name, absl::StrCat("a guest \"", work->name, "\" is just being made"));
    }
  }
  state::OperationRow row;
  row.verb = kVerb;
  row.target = absl::StrCat(kGuests, work->name);
  row.payload = Payload(work->source_id, {});
  row.request_id = request.request_id();
  const absl::StatusOr<Operations::Begun> begun = operations_->Begin(row);
  if (!begun.ok() || !begun->is_new) {
    absl::MutexLock lock(&mutex_);
    names_.erase(work->name);
  }
  RETURN_IF_ERROR(begun.status());
  if (!begun->is_new) return operations_->Get(begun->row.id);
  work->operation = begun->row;
  const std::string source = work->source.substr(0, work->source.find(kBetween));
  guests_->InLine(source, [this, work](const absl::StatusOr<GuestPtr>& guest) {
    const absl::Status copied = guest.ok() ? Copy(*guest, work.get()) : guest.status();
    if (!copied.ok()) return End(work, copied);
    // The source goes its own ways again.
    const auto rest = [this, work] { End(work, Complete(work.get())); };
    work->same_identity ? pool_->Submit(rest) : pool_->SubmitInLine(kIdentityLine, rest);
  });
  return OperationView{.row = begun->row};
}

absl::Status Clones::Plan(const GuestPtr& source, Work* work) {
  work->source_row = table_->View(source).row;
  std::optional<state::SnapshotRow> snapshot;
  if (work->snapshot_id != 0) {
    ASSIGN_OR_RETURN(snapshot, SnapshotOf(*work));
  }
  work->plan = PlanClone(work->source_row, snapshot.has_value() ? &*snapshot : nullptr, work->name, *volumes_);
  ASSIGN_OR_RETURN(work->row, guests_->NewRow(work->plan.request, work->caller));
  work->row.image = work->source_row.image;
  work->row.image_digest = work->source_row.image_digest;
  work->report.Clear();
  work->report.set_source(work->source);
  work->AddNotes(work->plan.notes);
  work->AddNotes(TapNotes(work->source_row, work->row));
  const auto file_of = [&](const ClonedDisk& disk) {
    return snapshot.has_value()
               ? absl::StrCat(config_->SnapshotDir(snapshot->id), "/", devices::DiskName(disk.row.unit))
               : disk.row.path;
  };
  return Annotate(CheckCloneSpace(config_->state_dir, work->plan.disks, file_of), work->noun());
}

absl::Status Clones::Copy(const GuestPtr& source, Work* work) {
  const uint64_t id = work->operation.id;
  RETURN_IF_ERROR(Plan(source, work));
  std::vector<state::DiskRow> shared;
  bool any_copied = false;
  for (const ClonedDisk& disk : work->plan.disks) {
    if (!disk.copied) shared.push_back(disk.row);
    any_copied = any_copied || disk.copied;
  }
  ASSIGN_OR_RETURN(work->hold, volumes_->Use(shared));
  RETURN_IF_ERROR(MakeFolders(config_->state_dir + "/clones", 0700));
  RETURN_IF_ERROR(MakeFolders(Folder(id), 0700));
  if (!any_copied) return absl::OkStatus();
  const std::string disks = Folder(id) + "/disks";
  operations_->SetProgress(id, 10, absl::StrCat("copying the disks of ", work->source_row.name));
  if (work->snapshot_id != 0) {
    RETURN_IF_ERROR(MakeFolders(disks, 0700));
    RETURN_IF_ERROR(CopyCloneDisks(config_->SnapshotDir(work->snapshot_id), disks, work->plan.disks));
  } else {
    table_->Update(source, [id](GuestView& view) { view.operation = id; });
    const absl::StatusOr<state::SnapshotRow> copied = snapshots_->CopyDisks(source, work->operation);
    table_->Update(source, [](GuestView& view) { view.operation = 0; });
    RETURN_IF_ERROR(Annotate(copied.status(), absl::StrCat("guest ", work->source_row.name)));
    if (!copied->synced) {
      work->AddNotes({absl::StrCat(work->source_row.name, "'s kernel did not say that all is written out: the disks ",
                                   "are as after a power cut")});
    }
    const std::string made = config_->SnapshotDir(copied->id);
    if (rename(made.c_str(), disks.c_str()) != 0) {
      const int error = errno;
      RemoveWithWarning(made);
      return ErrnoError(error, absl::StrCat("make ", disks));
    }
  }
  return FinishCloneDisks(disks, work->caller.user, &work->plan.disks);
}

absl::Status Clones::Complete(Work* work) {
  if (work->same_identity) {
    work->AddNotes(
        {absl::StrCat("its machine-id, ssh host keys and host name inside are those of ", work->source_row.name)});
  } else {
    RETURN_IF_ERROR(ChangeIdentity(work));
  }
  operations_->SetProgress(work->operation.id, 90, "entering it");
  return Commit(work);
}

absl::Status Clones::ChangeIdentity(Work* work) {
  const ClonedDisk* root = nullptr;
  for (const ClonedDisk& disk : work->plan.disks) {
    if (disk.row.unit == work->plan.root) root = &disk;
  }
  if (!work->plan.root.has_value()) {
    return MakeError(absl::StatusCode::kAborted, "which disk its root is cannot be told from its kernel argument root=",
                     {"IDENTITY_UNCHANGED", absl::StrCat(kGuests, work->name),
                      "write root=/dev/ubdX, or give --same-identity to leave what is inside as it is"});
  }
  if (root == nullptr || !root->copied) {
    work->AddNotes({root == nullptr ? "it has no root disk: nothing inside to change"
                                    : absl::StrCat("its root disk is read-only and the same as ", work->source_row.name,
                                                   "'s: nothing inside was changed")});
    return absl::OkStatus();
  }
  operations_->SetProgress(work->operation.id, 50, "giving it an identity of its own");
  IdentityJob job;
  job.old_name = work->source_row.name;
  job.new_name = work->name;
  job.kernel = work->row.kernel;
  job.kernel_opener = work->row.kernel_opener;
  job.relaxed = work->row.relaxed;
  job.root_flags = work->plan.root_flags;
  job.root = root->row;
  job.folder = Folder(work->operation.id) + "/identity";
  job.run_dir = RunFolder(work->operation.id);
  RETURN_IF_ERROR(MakeFolders(job.folder, 0700));
  ASSIGN_OR_RETURN(const std::vector<std::string> notes, RenewIdentity(*config_, *runtime_, catalog_, job));
  work->AddNotes(notes);
  return absl::OkStatus();
}

absl::Status Clones::Commit(Work* work) {
  const std::string disks = Folder(work->operation.id) + "/disks";
  const bool has_folder = access(disks.c_str(), F_OK) == 0;
  const std::string guests = config_->state_dir + "/guests";
  if (has_folder) {
    RETURN_IF_ERROR(MakeFolders(guests, 0755));
    RETURN_IF_ERROR(WriteFileDurably(disks + kUnfinished, "", 0600));
  }
  state::GuestRow row = work->row;
  row.created_ns = absl::ToUnixNanos(absl::Now());
  std::string folder;
  const auto complete = [&](state::GuestRow& inserted, state::Transaction&) -> absl::Status {
    for (const ClonedDisk& disk : work->plan.disks) {
      state::DiskRow mine = disk.row;
      if (disk.copied) {
        mine.path = absl::StrCat(config_->GuestStateDir(inserted.id), disk.row.path.substr(disk.row.path.rfind('/')));
      }
      inserted.disks.push_back(std::move(mine));
    }
    if (!has_folder) return absl::OkStatus();
    // An id whose transaction was undone is given again; a folder that has one is nobody's.
    const std::string place = config_->GuestStateDir(inserted.id);
    if (rename(disks.c_str(), place.c_str()) != 0) return ErrnoError(errno, absl::StrCat("make ", place));
    folder = place;
    return SyncFolder(guests);
  };
  state::OperationRow done = work->operation;
  done.payload = Payload(work->source_id, work->report);
  done = Operations::Outcome(done, absl::OkStatus());
  const auto undo = [&] {
    if (!folder.empty()) RemoveWithWarning(folder);
  };
  const absl::StatusOr<GuestPtr> guest = table_->Insert(row, complete, &done, undo);
  if (guest.ok() && !folder.empty()) unlink((folder + kUnfinished).c_str());
  return guest.status();
}

void Clones::End(const WorkPtr& work, const absl::Status& status) {
  RemoveWithWarning(Folder(work->operation.id));
  {
    absl::MutexLock lock(&mutex_);
    names_.erase(work->name);
  }
  if (!status.ok()) operations_->Finish(work->operation, Annotate(status, work->noun()));
}

bool Clones::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kVerb) return false;
  operations_->Resume(operation);
  const absl::Status interrupted =
      MakeError(absl::StatusCode::kAborted,
                absl::StrCat("umld was restarted in the middle of it; there is no ", operation.target),
                {"INTERRUPTED", operation.target, "ask for it again"});
  const absl::StatusOr<GuestPtr> source = table_->FindById(SourceOf(operation));
  if (!source.ok()) {
    operations_->Finish(operation, interrupted);
    return true;
  }
  guests_->InLine(table_->View(*source).row.name, [=, this](const absl::StatusOr<GuestPtr>& found) {
    if (found.ok()) snapshots_->GoOnIfPaused(*found);
    operations_->Finish(operation, interrupted);
  });
  return true;
}

absl::StatusOr<v1::CloneReport> Clones::Report(const std::string& operation) {
  ASSIGN_OR_RETURN(const uint64_t id, ParseOperationName(operation));
  ASSIGN_OR_RETURN(const OperationView view, operations_->Get(id));
  if (view.row.verb != kVerb || !view.row.done || view.row.code != absl::StatusCode::kOk) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(operation, " is no clone that has succeeded"),
                     {"NO_REPORT", operation, "`umlctl operations describe` says how it is"});
  }
  v1::CloneReport report;
  const size_t newline = view.row.payload.find('\n');
  if (newline != std::string::npos) report.ParseFromString(view.row.payload.substr(newline + 1));
  ASSIGN_OR_RETURN(const GuestPtr guest, table_->FindById(view.row.guest_id));
  *report.mutable_guest() = guests_->Show(guest);
  return report;
}

}  // namespace umld
