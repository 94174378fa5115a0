#include "umld/snapshots.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/status.h"
#include "base/umid.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/description.h"
#include "umld/labels.h"
#include "umld/snapshot_restore.h"
#include "umld/snapshot_views.h"

namespace umld {
namespace {

constexpr char kCreate[] = "snapshot", kRestore[] = "restore-snapshot";
constexpr char kBetween[] = "/snapshots/";
constexpr size_t kDefaultPage = 100, kMaxPage = 1000;

absl::Status Interrupted(const state::OperationRow& operation, absl::string_view left) {
  return MakeError(absl::StatusCode::kAborted, absl::StrCat("umld was restarted in the middle of it; ", left),
                   {"INTERRUPTED", operation.target, "ask for it again"});
}

bool HasWritableDisk(const GuestView& view) {
  return std::any_of(view.row.disks.begin(), view.row.disks.end(),
                     [](const state::DiskRow& disk) { return disk.flags.find('r') == std::string::npos; });
}

// What a Create needs to be undone: the guests, in the order of their snapshots' ids, and what was asked.
struct CreatePayload {
  std::vector<uint64_t> guests;
  v1::CreateSnapshotRequest wanted;

  std::string Encode() const { return absl::StrCat(absl::StrJoin(guests, ","), ";", wanted.SerializeAsString()); }
  static CreatePayload Decode(const state::OperationRow& operation) {
    CreatePayload payload;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(operation.payload, absl::MaxSplits(';', 1));
    for (const absl::string_view word : absl::StrSplit(parts.first, ',')) {
      uint64_t id = 0;
      if (absl::SimpleAtoi(word, &id)) payload.guests.push_back(id);
    }
    payload.wanted.ParseFromArray(parts.second.data(), static_cast<int>(parts.second.size()));
    return payload;
  }
};

state::EventRow Event(const char* type, const std::string& snapshot) {
  state::EventRow event;
  event.type = type;
  event.message = snapshot;
  return event;
}

}  // namespace

absl::Status NoSuchSnapshot(absl::string_view guest, absl::string_view id) {
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", guest, " has no snapshot \"", id, "\""),
                   {"SNAPSHOT_NOT_FOUND", absl::StrCat("guests/", guest, kBetween, id),
                    absl::StrCat("`umlctl snapshot list ", guest, "` shows those it has")});
}

// How far a restore is, in the payload of its operation.
struct Snapshots::RestoreStep {
  enum Step { kCopying, kReplacing, kReplaced };
  uint64_t snapshot = 0;
  bool force = false;
  int step = kCopying;
  bool start = false;  // it ran, and is to run again

  std::string Encode() const {
    return absl::StrJoin({snapshot, uint64_t{force}, uint64_t(step), uint64_t{start}}, ",");
  }
  static RestoreStep Decode(const std::string& text) {
    uint64_t numbers[4] = {};
    size_t i = 0;
    for (const absl::string_view word : absl::StrSplit(text, ',')) {
      if (i < 4 && absl::SimpleAtoi(word, &numbers[i])) ++i;
    }
    return {numbers[0], numbers[1] != 0, static_cast<int>(numbers[2]), numbers[3] != 0};
  }
};

absl::Status Snapshots::RemoveLeftovers() {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshots());
  const SnapshotNames needed = NamesOf(rows);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(config_->state_dir + "/snapshots", ignored)) {
    const std::string name = entry.path().filename().string();
    uint64_t id = 0;
    if (!absl::SimpleAtoi(name, &id) || needed.count(id) != 0) continue;
    if (absl::Status status = RemoveFolder(entry.path().string()); !status.ok()) {
      spdlog::warn("{}", std::string(status.message()));
    }
  }
  return absl::OkStatus();
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
  ASSIGN_OR_RETURN(found.all, store_->LoadSnapshotsOf(view.row.id));
  for (const state::SnapshotRow& row : found.all) {
    if (row.name != id) continue;
    found.row = row;
    return found;
  }
  return NoSuchSnapshot(view.row.name, id);
}

absl::StatusOr<state::SnapshotRow> Snapshots::Reload(const GuestView& view, uint64_t id) {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows, store_->LoadSnapshotsOf(view.row.id));
  for (const state::SnapshotRow& row : rows) {
    if (row.id == id) return row;
  }
  return MakeError(absl::StatusCode::kNotFound,
                   absl::StrCat("guest ", view.row.name, ": the snapshot has been deleted"),
                   {"SNAPSHOT_NOT_FOUND", view.name(),
                    absl::StrCat("`umlctl snapshot list ", view.row.name, "` shows those it has")});
}

absl::StatusOr<v1::Snapshot> Snapshots::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const Found found, Find(name));
  return ToProto(found.row, table_->View(found.guest), NamesOf(found.all));
}

absl::StatusOr<v1::ListSnapshotsResponse> Snapshots::List(const v1::ListSnapshotsRequest& request) {
  uint64_t after = 0, operation = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &after)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the page token is not one of ours",
                     {"INVALID_PAGE_TOKEN", "", "begin again without it"});
  }
  if (!request.operation().empty()) {
    ASSIGN_OR_RETURN(operation, ParseOperationName(request.operation()));
  }
  std::map<uint64_t, GuestView> guests;
  uint64_t only = 0;
  if (request.guest().empty()) {
    for (GuestView& view : table_->Views()) guests[view.row.id] = std::move(view);
  } else {
    ASSIGN_OR_RETURN(const GuestPtr guest, table_->Find(request.guest()));
    const GuestView view = table_->View(guest);
    only = view.row.id;
    guests[only] = view;
  }
  const size_t size = request.page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page_size(), kMaxPage);
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> rows,
                   only == 0 ? store_->LoadSnapshots() : store_->LoadSnapshotsOf(only));
  const SnapshotNames names = NamesOf(rows);
  v1::ListSnapshotsResponse response;
  uint64_t last = 0;
  for (const state::SnapshotRow& row : rows) {
    const auto guest = guests.find(row.guest_id);
    if (row.id <= after || guest == guests.end() || (operation != 0 && row.operation_id != operation)) continue;
    if (static_cast<size_t>(response.snapshots_size()) == size) {
      response.set_next_page_token(absl::StrCat(last));
      break;
    }
    *response.add_snapshots() = ToProto(row, guest->second, names);
    last = row.id;
  }
  return response;
}

// ---------------------------------------------------------------- create

absl::StatusOr<OperationView> Snapshots::Create(const v1::CreateSnapshotRequest& request) {
  ASSIGN_OR_RETURN(const GuestPtr guest, table_->Find(request.guest()));
  return Begin({guest}, request);
}

absl::StatusOr<OperationView> Snapshots::CreateSet(const v1::CreateSnapshotsRequest& request) {
  v1::CreateSnapshotRequest wanted;
  wanted.set_snapshot_id(request.snapshot_id());
  wanted.set_description(request.description());
  wanted.set_keep(request.keep());
  wanted.set_request_id(request.request_id());
  ASSIGN_OR_RETURN(const std::vector<GuestPtr> guests, Select(request));
  return Begin(guests, wanted);
}

absl::StatusOr<std::vector<GuestPtr>> Snapshots::Select(const v1::CreateSnapshotsRequest& request) const {
  const int rules = (request.guests().empty() ? 0 : 1) + (request.label_selector().empty() ? 0 : 1) + request.all();
  if (rules != 1) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     rules == 0 ? "no guest was named" : "guests were named in more than one way",
                     {"INVALID_SELECTION", "", "give guests, a label selector, or all"});
  }
  std::set<std::string> names;
  for (const std::string& name : request.guests()) {
    ASSIGN_OR_RETURN(const GuestPtr guest, table_->Find(name));
    names.insert(table_->View(guest).row.name);
  }
  ASSIGN_OR_RETURN(const LabelSelector selector, LabelSelector::Parse(request.label_selector()));
  std::vector<GuestPtr> guests;
  for (const GuestPtr& guest : table_->All()) {
    const GuestView view = table_->View(guest);
    const bool meant = request.guests().empty()
                           ? selector.Matches(view.row.labels) && HasWritableDisk(view) && !view.deleting
                           : names.count(view.row.name) != 0;
    if (meant) guests.push_back(guest);
  }
  if (!guests.empty() && guests.size() <= SnapshotTaker::kMaxGuests) return guests;
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   guests.empty() ? "there is no such guest with a writable disk"
                                  : absl::StrCat("these are more than ", SnapshotTaker::kMaxGuests, " guests"),
                   {"NO_GUESTS", "", "`umlctl list` shows the guests that there are"});
}

absl::StatusOr<OperationView> Snapshots::Begin(const std::vector<GuestPtr>& guests, v1::CreateSnapshotRequest wanted) {
  if (wanted.snapshot_id().empty()) {
    wanted.set_snapshot_id(absl::FormatTime("%Y%m%dT%H%M%SZ", absl::Now(), absl::UTCTimeZone()));
  }
  RETURN_IF_ERROR(Annotate(Umid::Parse(wanted.snapshot_id()).status(), "the snapshot's name"));
  RETURN_IF_ERROR(CheckDescription(wanted.description(), wanted.guest()));
  CreatePayload payload;
  for (const GuestPtr& guest : guests) payload.guests.push_back(table_->View(guest).row.id);
  payload.wanted = wanted;
  state::OperationRow row;
  row.verb = kCreate;
  row.target = absl::StrCat("snapshots/", wanted.snapshot_id());
  if (!wanted.guest().empty()) {
    row.guest_id = payload.guests[0];
    row.target = SnapshotName(table_->View(guests[0]), wanted.snapshot_id());
  }
  row.payload = payload.Encode();
  row.request_id = wanted.request_id();
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  guests_->InLines(guests, [this, guests, operation = begun.row](const absl::Status& there) {
    const absl::Status status = there.ok() ? RunCreate(guests, operation) : there;
    if (!status.ok()) operations_->Finish(operation, status);
  });
  return OperationView{.row = begun.row};
}

absl::Status Snapshots::RunCreate(const std::vector<GuestPtr>& guests, const state::OperationRow& operation) {
  const CreatePayload payload = CreatePayload::Decode(operation);
  state::SnapshotRow like;
  like.name = payload.wanted.snapshot_id();
  like.description = payload.wanted.description();
  like.rotates = payload.wanted.keep() != 0;
  like.operation_id = operation.id;
  const auto set_operation = [&](uint64_t id) {
    for (const GuestPtr& guest : guests) table_->Update(guest, [id](GuestView& view) { view.operation = id; });
  };
  set_operation(operation.id);
  const absl::StatusOr<std::vector<state::SnapshotRow>> made = taker_.Take(guests, like, operation.id);
  set_operation(0);
  absl::Status status = made.ok() ? CommitSet(guests, *made, payload.wanted.keep(), operation) : made.status();
  if (!status.ok()) {
    UndoCreate(operation);
    taker_.LetGoOnLater(guests);
  }
  return status;
}

absl::StatusOr<std::vector<state::SnapshotRow>> Snapshots::Expired(uint64_t guest_id, uint32_t keep) {
  if (keep == 0) return std::vector<state::SnapshotRow>();
  ASSIGN_OR_RETURN(std::vector<state::SnapshotRow> rows, store_->LoadSnapshotsOf(guest_id));
  rows.erase(std::remove_if(rows.begin(), rows.end(), [](const auto& row) { return !row.rotates; }), rows.end());
  const size_t kept = std::min<size_t>(keep - 1, rows.size());
  rows.resize(rows.size() - kept);  // oldest first
  return rows;
}

absl::Status Snapshots::CommitSet(const std::vector<GuestPtr>& guests, const std::vector<state::SnapshotRow>& made,
                                  uint32_t keep, const state::OperationRow& operation) {
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  std::vector<std::pair<GuestPtr, GuestTable::Change>> changes;
  std::vector<uint64_t> gone;
  for (size_t i = 0; i < guests.size(); ++i) {
    const state::SnapshotRow& row = made[i];
    ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> expired, Expired(row.guest_id, keep));
    GuestTable::Change change;
    change.edit = [id = row.id](state::GuestRow& guest) {
      guest.snapshot_id = id;
      return absl::OkStatus();
    };
    change.events.push_back(Event("guest.snapshot", row.name));
    for (const state::SnapshotRow& old : expired) {
      change.events.push_back(Event("guest.snapshot_deleted", old.name));
      gone.push_back(old.id);
    }
    change.also = [&row, expired](state::Transaction& transaction) -> absl::Status {
      RETURN_IF_ERROR(transaction.InsertSnapshot(row));
      for (const state::SnapshotRow& old : expired) RETURN_IF_ERROR(transaction.DeleteSnapshot(old.id));
      return absl::OkStatus();
    };
    if (i == 0) change.finished = &done;
    changes.emplace_back(guests[i], std::move(change));
  }
  RETURN_IF_ERROR(table_->CommitAll(changes));
  // Without a row they are removed at the next start if they cannot be now.
  for (uint64_t id : gone) {
    if (absl::Status status = RemoveFolder(config_->SnapshotDir(id)); !status.ok()) {
      spdlog::warn("{}", std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

void Snapshots::UndoCreate(const state::OperationRow& operation) {
  for (size_t place = 0; place < CreatePayload::Decode(operation).guests.size(); ++place) {
    absl::Status removed = RemoveFolder(config_->SnapshotDir(SnapshotTaker::Id(operation.id, place)));
    if (!removed.ok()) spdlog::warn("{}", std::string(removed.message()));
  }
}

// ---------------------------------------------------------------- restore

absl::StatusOr<OperationView> Snapshots::Restore(const v1::RestoreSnapshotRequest& request, const Caller& caller) {
  ASSIGN_OR_RETURN(const Found found, Find(request.name()));
  const GuestView view = table_->View(found.guest);
  // Of a time when others may have been root in it.
  RETURN_IF_ERROR(CheckUnconfined(view, "what is on a disk of a guest that is not confined", caller));
  RestoreStep step;
  step.snapshot = found.row.id;
  step.force = request.force();
  state::OperationRow row;
  row.verb = kRestore;
  row.guest_id = view.row.id;
  row.target = SnapshotName(view, found.row.name);
  row.payload = step.Encode();
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  guests_->InLine(view.row.name, [this, operation = begun.row](const absl::StatusOr<GuestPtr>& guest) {
    operations_->Finish(operation, guest.ok() ? RunRestore(*guest, operation, /*resumed=*/false) : guest.status());
  });
  return OperationView{.row = begun.row};
}

absl::Status Snapshots::RunRestore(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  RestoreStep step = RestoreStep::Decode(operation.payload);
  ASSIGN_OR_RETURN(const state::SnapshotRow snapshot, Reload(view, step.snapshot));
  if (resumed && step.step == RestoreStep::kCopying) {
    SnapshotRestore(view.row, snapshot, config_->SnapshotDir(snapshot.id), operation.id).Discard();
    return Annotate(Interrupted(operation, "the disks are as they were"), noun);
  }
  const absl::StatusOr<VolumeCatalog::Hold> hold = volumes_->Use(view.row.disks);
  if (!hold.ok() && !resumed) return Annotate(hold.status(), noun);
  const bool is_replaced = step.step == RestoreStep::kReplaced;
  table_->Update(guest, [&](GuestView& now) { now.operation = operation.id; });
  absl::Status status;
  if (step.step == RestoreStep::kCopying) status = Annotate(BeginRestore(guest, snapshot, step, operation), noun);
  if (status.ok() && !is_replaced) status = Annotate(ReplaceDisks(guest, snapshot, step, operation), noun);
  if (status.ok() && step.start) {
    status = Annotate(guests_->RunStart(guest, operation, /*resumed=*/is_replaced), "its disks are restored");
  }
  table_->Update(guest, [](GuestView& now) { now.operation = 0; });
  return status;
}

absl::Status Snapshots::Note(state::OperationRow operation, const RestoreStep& step) {
  operation.payload = step.Encode();
  return store_->Commit([&](state::Transaction& transaction) { return transaction.UpdateOperation(operation); });
}

absl::Status Snapshots::BeginRestore(const GuestPtr& guest, const state::SnapshotRow& snapshot, RestoreStep& step,
                                     const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  if (view.alive && !step.force) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("it is ", v1::GuestState_Name(view.state()), ", and its disks are in use"),
                     {"RUNNING", view.name(),
                      absl::StrCat("`umlctl stop ", view.row.name,
                                   "` first, or kill it and start it again with `umlctl "
                                   "snapshot restore --force ",
                                   view.row.name, " ", snapshot.name, "`")});
  }
  const SnapshotRestore restore(view.row, snapshot, config_->SnapshotDir(snapshot.id), operation.id);
  RETURN_IF_ERROR(restore.Check());
  // Of a guest that has never been started there is none.
  RETURN_IF_ERROR(MakeFolders(config_->GuestStateDir(view.row.id), 0700));
  operations_->SetProgress(operation.id, 10, "copying its disks");
  absl::Status status = restore.Stage();
  if (status.ok()) {
    step.step = RestoreStep::kReplacing;
    step.start = view.alive;
    status = Note(operation, step);  // from here on the next umld goes on with it
  }
  if (!status.ok()) restore.Discard();
  return status;
}

absl::Status Snapshots::ReplaceDisks(const GuestPtr& guest, const state::SnapshotRow& snapshot, RestoreStep& step,
                                     const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  const SnapshotRestore restore(view.row, snapshot, config_->SnapshotDir(snapshot.id), operation.id);
  absl::Status status;
  if (view.alive) {
    operations_->SetProgress(operation.id, 60, "ending it");
    status = guests_->RunKill(guest, operation);
  }
  if (status.ok()) status = restore.Replace();
  if (!status.ok()) {
    // All is as it was, once the intent is taken back.
    step.step = RestoreStep::kCopying;
    RETURN_IF_ERROR(Note(operation, step));
    restore.Discard();
    if (step.start && !table_->View(guest).alive) {
      guests_->RunStart(guest, operation, /*resumed=*/false).IgnoreError();
    }
    return status;
  }
  step.step = RestoreStep::kReplaced;
  state::OperationRow replaced = operation;
  replaced.payload = step.Encode();
  GuestTable::Change change;
  change.edit = [&](state::GuestRow& row) {
    row.snapshot_id = snapshot.id;
    return absl::OkStatus();
  };
  change.events = {Event("guest.restored", snapshot.name)};
  change.also = [&](state::Transaction& transaction) { return transaction.UpdateOperation(replaced); };
  return table_->Commit(guest, change);
}

// ---------------------------------------------------------------- the rest

void Snapshots::Delete(const std::string& name, std::function<void(absl::Status)> done) {
  const absl::StatusOr<Found> found = Find(name);
  if (!found.ok()) return done(found.status());
  const std::string guest_name = table_->View(found->guest).row.name;
  guests_->InLine(guest_name, [this, id = found->row.id, done](const absl::StatusOr<GuestPtr>& guest) {
    if (!guest.ok()) return done(guest.status());
    const GuestView view = table_->View(*guest);
    const absl::StatusOr<state::SnapshotRow> snapshot = Reload(view, id);
    if (!snapshot.ok()) return done(snapshot.status());
    GuestTable::Change change;
    // As the store does with the row.
    change.edit = [&](state::GuestRow& row) {
      if (row.snapshot_id == id) row.snapshot_id = snapshot->parent_id;
      return absl::OkStatus();
    };
    change.events = {Event("guest.snapshot_deleted", snapshot->name)};
    change.also = [&](state::Transaction& transaction) { return transaction.DeleteSnapshot(id); };
    // The row goes first: files without a row are removed at the next start.
    absl::Status status = table_->Commit(*guest, change);
    if (status.ok()) status = RemoveFolder(config_->SnapshotDir(id));
    done(Annotate(status, absl::StrCat("guest ", view.row.name, ": snapshot ", snapshot->name)));
  });
}

bool Snapshots::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kCreate && operation.verb != kRestore) return false;
  operations_->Resume(operation);
  spdlog::info("{}: {} of {} goes on", OperationName(operation.id), operation.verb, operation.target);
  std::vector<GuestPtr> guests;
  const bool is_create = operation.verb == kCreate;
  for (uint64_t id : is_create ? CreatePayload::Decode(operation).guests : std::vector{operation.guest_id}) {
    if (const absl::StatusOr<GuestPtr> guest = table_->FindById(id); guest.ok()) guests.push_back(*guest);
  }
  guests_->InLines(guests, [this, guests, operation, is_create](const absl::Status& there) {
    if (is_create) {
      taker_.LetGoOn(guests);
      UndoCreate(operation);
      operations_->Finish(operation, Interrupted(operation, "there is no snapshot"));
      taker_.LetGoOnLater(guests);
    } else if (guests.empty()) {
      operations_->Finish(operation, Interrupted(operation, "the guest is gone"));
    } else {
      operations_->Finish(operation, there.ok() ? RunRestore(guests[0], operation, /*resumed=*/true) : there);
    }
  });
  return true;
}

}  // namespace umld
