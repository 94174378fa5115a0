// The disks of a guest while it is defined or runs.
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "devices/disk/disk_spec.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/guests.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

using vmcore::v1::Request;

const state::DiskRow* FindUnit(const std::vector<state::DiskRow>& disks, uint32_t unit) {
  for (const state::DiskRow& disk : disks) {
    if (disk.unit == unit) return &disk;
  }
  return nullptr;
}

std::vector<state::DiskRow> LiveDisks(const GuestView& view) {
  std::vector<state::DiskRow> disks;
  if (!view.alive) return disks;
  for (const vmcore::v1::Disk& disk : view.facts.live_disks()) disks.push_back(FromVmcoreDisk(disk));
  return disks;
}

std::string DiskResource(const GuestView& view, uint32_t unit) {
  return absl::StrCat(view.name(), "/disks/", devices::DiskName(unit));
}

devices::DiskSpec ToSpec(const state::DiskRow& row) { return {row.unit, row.flags, row.path, row.backing, row.serial}; }

absl::Status AlreadyPlugged(const GuestView& view, const state::DiskRow& disk) {
  const std::string device = devices::DiskName(disk.unit);
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat("guest ", view.row.name, " has ", device, " already (", devices::PrintDiskValue(ToSpec(disk)), ")"),
      {"DEVICE_EXISTS", DiskResource(view, disk.unit),
       absl::StrCat("choose another unit, or `umlctl unplug ", view.row.name, " ", device, "` first")});
}

}  // namespace

void Guests::NameVolume(v1::Disk* disk) const {
  absl::StatusOr<devices::DiskSpec> spec = devices::ParseDiskSpec(disk->spec());
  if (!spec.ok() || volumes_->NameOf(spec->path).empty()) return;
  spec->path = volumes_->Show(spec->path);
  disk->set_spec(devices::PrintDiskSpec(*spec));
}

v1::Device Guests::DiskDevice(const GuestView& view, const state::DiskRow& disk, bool persistent) const {
  v1::Device device;
  device.set_name(DiskResource(view, disk.unit));
  devices::DiskSpec spec = ToSpec(disk);
  spec.path = volumes_->Show(spec.path);
  device.set_spec(devices::PrintDiskValue(spec));
  *device.mutable_disk() = DiskToProto(view, disk, persistent);
  NameVolume(device.mutable_disk());
  return device;
}

absl::StatusOr<std::string> Guests::ExpandSpec(const std::string& spec,
                                               const absl::StatusOr<KernelChoice>& kernel) const {
  absl::string_view device = spec;
  if (!absl::ConsumeSuffix(&device, "=modules:")) return volumes_->Expand(spec);
  RETURN_IF_ERROR(kernel.status());
  if (kernel->modules.empty()) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("the kernel ", kernel->name.empty() ? kernel->path : kernel->name, " has no modules here"),
        {"NO_MODULES", kernel->name, "import it with them: umlctl kernel import NAME FILE --modules FOLDER"});
  }
  // After "ubd" and the unit come the flags.
  const size_t unit = device.find_first_not_of("0123456789", 3);
  const size_t flags = unit == 3 ? 4 : unit;
  const bool read_only = flags < device.size() && absl::StrContains(device.substr(flags), 'r');
  return absl::StrCat(device, read_only ? "=" : "r=", kernel->modules);
}

absl::StatusOr<v1::Device> Guests::PlugDisk(const GuestPtr& guest, const std::string& text, bool live_only,
                                            const std::string& request_id, const Caller& caller) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  // Its kernel opens the disk itself, with umld's permissions.
  RETURN_IF_ERROR(CheckUnconfined(view, "a disk of a guest that is not confined", caller));
  ASSIGN_OR_RETURN(const std::string expanded, ExpandSpec(text, catalog_->ChoiceOf(view)));
  ASSIGN_OR_RETURN(devices::DiskSpec spec, devices::ParseDiskSpec(expanded));
  state::DiskRow disk;
  disk.unit = spec.unit;
  disk.path = spec.path;
  disk.backing = spec.backing;
  disk.flags = spec.flags;
  disk.serial = spec.serial;
  disk.opener = WhoOpens(disk, caller);
  const std::string device = devices::DiskName(disk.unit);
  state::OperationRow row;
  row.verb = "plug";
  row.guest_id = view.row.id;
  row.target = DiskResource(view, disk.unit);
  row.payload = absl::StrCat(live_only ? "live " : "", devices::PrintDiskSpec(spec));
  row.request_id = request_id;
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) {
      RETURN_IF_ERROR(OperationStatus(*earlier));
      return QueryDisk(guest, device);
    }
  }
  if (live_only && !view.alive) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(noun, " is not running"),
                     {"NOT_RUNNING", view.name(), "leave out --live-only to have the disk at its next start"});
  }
  const std::vector<state::DiskRow> live = LiveDisks(view);
  const state::DiskRow* wanted = FindUnit(view.row.disks, disk.unit);
  if (const state::DiskRow* taken = FindUnit(live, disk.unit)) return AlreadyPlugged(view, *taken);
  // One that the next boot gets anyway may be plugged (again) into this one.
  if (wanted != nullptr && (!view.alive || !(ToSpec(*wanted) == spec))) return AlreadyPlugged(view, *wanted);
  // Until it is in the guest's row.
  ASSIGN_OR_RETURN(const VolumeCatalog::Hold hold, volumes_->Use({disk}));
  std::vector<state::DiskRow> own = view.row.disks;
  own.insert(own.end(), live.begin(), live.end());
  RETURN_IF_ERROR(Annotate(CheckDisk(disk, own, view.row.id), noun));

  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) {
    RETURN_IF_ERROR(*repeated);
    return QueryDisk(guest, device);
  }
  if (view.alive) {
    Request request;
    *request.mutable_plug_disk()->mutable_disk() = ToVmcoreDisk(disk);
    request.mutable_plug_disk()->set_live_only(live_only);
    request.mutable_plug_disk()->set_etag(view.row.version + (live_only ? 0 : 1));
    absl::Status plugged = Annotate(
        Annotate(runtime_->Call(guest, request, GuestRuntime::kChangePatience).status(), "disk " + device), noun);
    if (!plugged.ok()) {
      operations_->Finish(begun.row, plugged);
      return plugged;
    }
  }
  absl::Status committed = CommitDiskPlug(guest, disk, live_only, begun.row);
  if (!committed.ok()) {
    // What is not written down must not be there: it would be gone after the next boot.
    if (view.alive) {
      Request undo;
      undo.mutable_unplug_disk()->set_unit(disk.unit);
      undo.mutable_unplug_disk()->set_etag(view.row.version);
      absl::Status undone = runtime_->Call(guest, undo, GuestRuntime::kChangePatience).status();
      if (!undone.ok()) spdlog::error("{}: undoing the plug of {}: {}", noun, device, std::string(undone.message()));
    }
    operations_->Finish(begun.row, committed);
    return Annotate(committed, noun);
  }
  // vmcore's facts arrive behind its reply; who asks next shall see the disk.
  table_->WaitUntil(guest, absl::Seconds(1),
                    [&](const GuestView& now) { return !now.alive || FindUnit(LiveDisks(now), disk.unit) != nullptr; });
  return DiskDevice(table_->View(guest), disk, !live_only);
}

absl::Status Guests::CommitDiskPlug(const GuestPtr& guest, const state::DiskRow& disk, bool live_only,
                                    const state::OperationRow& operation) {
  GuestTable::Change change;
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  change.edit = [&](state::GuestRow& row) {
    if (live_only || FindUnit(row.disks, disk.unit) != nullptr) return absl::OkStatus();
    auto place = row.disks.begin();
    while (place != row.disks.end() && place->unit < disk.unit) ++place;
    row.disks.insert(place, disk);
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "disk.plugged";
  event.subject = operation.target;
  event.message = devices::PrintDiskSpec(ToSpec(disk));
  change.events = {event};
  change.finished = &done;
  return table_->Commit(guest, change);
}

absl::Status Guests::UnplugDisk(const GuestPtr& guest, const std::string& name, bool live_only,
                                const std::string& request_id) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  ASSIGN_OR_RETURN(uint32_t unit, devices::ParseDiskName(name));
  const std::string device = devices::DiskName(unit);
  state::OperationRow row;
  row.verb = "unplug";
  row.guest_id = view.row.id;
  row.target = DiskResource(view, unit);
  row.payload = absl::StrCat(live_only ? "live " : "", device);
  row.request_id = request_id;
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) return OperationStatus(*earlier);
  }
  const std::vector<state::DiskRow> live = LiveDisks(view);
  const bool is_live = FindUnit(live, unit) != nullptr;
  const state::DiskRow* wanted = FindUnit(view.row.disks, unit);
  if (!is_live && (wanted == nullptr || live_only)) {
    return MakeError(
        absl::StatusCode::kNotFound, absl::StrCat(noun, " has no ", device),
        {"DEVICE_NOT_PLUGGED", row.target, absl::StrCat("`umlctl describe ", view.row.name, "` shows its disks")});
  }
  if (wanted != nullptr && wanted->managed && !live_only) {
    const bool from_image = wanted->unit == 0 && !view.row.image.empty();
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat(noun, ": ", device,
                     from_image ? absl::StrCat(" is its root disk, made from image ", view.row.image)
                                : " is in umld's own folder, and belongs to this guest alone"),
        {"ROOT_DISK", row.target, absl::StrCat("`umlctl delete ", view.row.name, "` removes it with the guest")});
  }
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) return *repeated;
  if (is_live) {
    Request request;
    request.mutable_unplug_disk()->set_unit(unit);
    request.mutable_unplug_disk()->set_live_only(live_only);
    request.mutable_unplug_disk()->set_etag(view.row.version + (live_only ? 0 : 1));
    absl::Status status = Annotate(
        Annotate(runtime_->Call(guest, request, GuestRuntime::kChangePatience).status(), "disk " + device), noun);
    if (!status.ok()) {
      operations_->Finish(begun.row, status);
      return status;
    }
  }
  absl::Status committed = CommitDiskUnplug(guest, unit, live_only, begun.row);
  // Undone by nothing: the guest has let go of it, and the wish says it comes back at the next boot.
  if (!committed.ok()) operations_->Finish(begun.row, committed);
  table_->WaitUntil(guest, absl::Seconds(1),
                    [&](const GuestView& now) { return !now.alive || FindUnit(LiveDisks(now), unit) == nullptr; });
  return Annotate(committed, noun);
}

absl::Status Guests::CommitDiskUnplug(const GuestPtr& guest, uint32_t unit, bool live_only,
                                      const state::OperationRow& operation) {
  GuestTable::Change change;
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  change.edit = [&](state::GuestRow& row) {
    if (live_only) return absl::OkStatus();
    std::erase_if(row.disks, [&](const state::DiskRow& disk) { return disk.unit == unit; });
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "disk.unplugged";
  event.subject = operation.target;
  change.events = {event};
  change.finished = &done;
  return table_->Commit(guest, change);
}

// A plug or unplug that the last umld did not finish: the running kernel says whether it happened.
void Guests::ResumeDiskChange(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = Settled(guest, operation);
  absl::string_view payload = operation.payload;
  const bool live_only = absl::ConsumePrefix(&payload, "live ");
  absl::Status status = Interrupted(view, operation);
  const bool reachable = view.alive && view.unreachable_reason.empty();
  if (operation.verb == "plug" && reachable) {
    absl::StatusOr<devices::DiskSpec> spec = devices::ParseDiskSpec(payload);
    const std::vector<state::DiskRow> live = LiveDisks(view);
    const state::DiskRow* disk = spec.ok() ? FindUnit(live, spec->unit) : nullptr;
    if (disk != nullptr && ToSpec(*disk) == *spec) status = CommitDiskPlug(guest, *disk, live_only, operation);
  } else if (operation.verb == "unplug" && reachable) {
    absl::StatusOr<uint32_t> unit = devices::ParseDiskName(payload);
    if (unit.ok() && FindUnit(LiveDisks(view), *unit) == nullptr) {
      status = CommitDiskUnplug(guest, *unit, live_only, operation);
    }
  }
  if (!status.ok()) operations_->Finish(operation, status);
}

absl::StatusOr<v1::Device> Guests::QueryDisk(const GuestPtr& guest, const std::string& name) {
  const GuestView view = table_->View(guest);
  ASSIGN_OR_RETURN(uint32_t unit, devices::ParseDiskName(name));
  const std::vector<state::DiskRow> live = LiveDisks(view);
  const state::DiskRow* wanted = FindUnit(view.row.disks, unit);
  if (const state::DiskRow* disk = FindUnit(live, unit)) return DiskDevice(view, *disk, wanted != nullptr);
  if (wanted != nullptr && !view.alive) return DiskDevice(view, *wanted, true);
  v1::Device none;
  none.set_name(DiskResource(view, unit));
  return none;
}

}  // namespace umld
