// The network interfaces of a guest while it is defined or runs.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "devices/nic/nic_spec.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/guests.h"
#include "umld/nic_counters.h"
#include "umld/nic_wish.h"

namespace umld {
namespace {

using devices::NicSpec;
using vmcore::v1::Request;

std::string NicResource(const GuestView& view, absl::string_view device) {
  return absl::StrCat(view.name(), "/nics/", device);
}

v1::Device ToDevice(const GuestView& view, const state::NicRow& nic, bool persistent) {
  v1::Device device;
  device.set_name(NicResource(view, nic.device));
  if (absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(nic.spec); spec.ok()) {
    device.set_spec(devices::PrintNicValue(*spec));
  }
  *device.mutable_nic() = NicToProto(view, nic, persistent);
  FillNicCounters(view, device.mutable_nic());
  return device;
}

absl::Status AlreadyPlugged(const GuestView& view, const state::NicRow& nic) {
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat("guest ", view.row.name, " has ", nic.device, " already (", nic.spec, ")"),
      {"DEVICE_EXISTS", NicResource(view, nic.device),
       absl::StrCat("choose another number, or `umlctl unplug ", view.row.name, " ", nic.device, "` first")});
}

// Whether what is there is what is asked for, where that leaves something open.
bool Fits(const NicSpec& asked, const state::NicRow& row) {
  absl::StatusOr<NicSpec> there = devices::ParseNicSpec(row.spec);
  if (!there.ok()) return false;
  NicSpec filled = asked;
  if (filled.mac.empty()) filled.mac = there->mac;
  if (filled.interface.empty()) filled.interface = there->interface;
  if (filled.socket.empty()) filled.socket = there->socket;
  return filled == *there;
}

}  // namespace

absl::StatusOr<std::vector<state::NicRow>> Guests::NewNics(const v1::CreateGuestRequest& request, bool relaxed,
                                                           const Caller& caller) {
  std::vector<NicSpec> specs;
  for (const std::string& text : request.nic_specs()) {
    ASSIGN_OR_RETURN(NicSpec spec, devices::ParseNicSpec(text));
    specs.push_back(std::move(spec));
  }
  for (const v1::Nic& nic : request.guest().nics()) {
    ASSIGN_OR_RETURN(NicSpec spec, NicFromProto(nic));
    specs.push_back(std::move(spec));
  }
  std::vector<state::NicRow> rows;
  for (const NicSpec& asked : specs) {
    if (!relaxed) RETURN_IF_ERROR(devices::CheckConfinedNic(asked));
    RETURN_IF_ERROR(CheckAdminOnly(AdminOnlyNic(asked), caller));
    ASSIGN_OR_RETURN(NicSpec spec, CompleteNic(asked));
    const std::string device = devices::NicName(spec.device);
    if (FindNicRow(rows, device) != nullptr) {
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(device, " is given twice"),
                       {"DEVICE_GIVEN_TWICE", device, "give each interface once"});
    }
    RETURN_IF_ERROR(CheckNic(spec, rows, 0, table_->Views()));
    AddNicRow(&rows, ToNicRow(spec));
  }
  return rows;
}

absl::Status Guests::CheckNicsConfined(const std::vector<state::NicRow>& nics) {
  for (const state::NicRow& nic : nics) {
    ASSIGN_OR_RETURN(const NicSpec spec, devices::ParseNicSpec(nic.spec));
    RETURN_IF_ERROR(devices::CheckConfinedNic(spec));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Device> Guests::PlugNic(const GuestPtr& guest, const std::string& text, bool live_only,
                                           const std::string& request_id, const Caller& caller) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  // Its kernel is in the host's network, with umld's permissions.
  RETURN_IF_ERROR(CheckUnconfined(view, "an interface of a guest that is not confined", caller));
  ASSIGN_OR_RETURN(const NicSpec asked, devices::ParseNicSpec(text));
  RETURN_IF_ERROR(Annotate(CheckAdminOnly(AdminOnlyNic(asked), caller), noun));
  const std::string device = devices::NicName(asked.device);
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) {
      RETURN_IF_ERROR(OperationStatus(*earlier));
      return QueryNic(guest, device);
    }
  }
  // For the kernel that runs vmcore knows, which is asked below.
  if (!view.row.relaxed && !live_only) RETURN_IF_ERROR(Annotate(devices::CheckConfinedNic(asked), noun));
  if (live_only && !view.alive) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(noun, " is not running"),
                     {"NOT_RUNNING", view.name(), "leave out --live-only to have the interface at its next start"});
  }
  const std::vector<state::NicRow> live = LiveNics(view);
  const state::NicRow* wanted = FindNicRow(view.row.nics, device);
  if (const state::NicRow* taken = FindNicRow(live, device)) return AlreadyPlugged(view, *taken);
  // One that the next boot gets anyway may be plugged (again) into this one.
  if (wanted != nullptr && (!view.alive || !Fits(asked, *wanted))) return AlreadyPlugged(view, *wanted);
  NicSpec spec;
  if (wanted != nullptr) {
    ASSIGN_OR_RETURN(spec, devices::ParseNicSpec(wanted->spec));
  } else {
    ASSIGN_OR_RETURN(spec, CompleteNic(asked));
  }
  std::vector<state::NicRow> own = view.row.nics;
  own.insert(own.end(), live.begin(), live.end());
  RETURN_IF_ERROR(Annotate(CheckNic(spec, own, view.row.id, table_->Views()), noun));

  state::OperationRow row;
  row.verb = "plug";
  row.guest_id = view.row.id;
  row.target = NicResource(view, device);
  row.payload = absl::StrCat(live_only ? "live " : "", devices::PrintNicSpec(spec));
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) {
    RETURN_IF_ERROR(*repeated);
    return QueryNic(guest, device);
  }
  const state::NicRow nic = ToNicRow(spec);
  if (view.alive) {
    Request request;
    request.mutable_plug_nic()->mutable_nic()->set_device(device);
    request.mutable_plug_nic()->mutable_nic()->set_spec(nic.spec);
    request.mutable_plug_nic()->set_live_only(live_only);
    request.mutable_plug_nic()->set_etag(view.row.version + (live_only || wanted != nullptr ? 0 : 1));
    auto reply = runtime_->Call(guest, request, GuestRuntime::kChangePatience);
    if (!reply.ok()) {
      const absl::Status refused = Annotate(reply.status(), noun);
      operations_->Finish(begun.row, refused);
      return refused;
    }
    // Who asks next shall see it: vmcore's own message may come behind its reply.
    table_->Update(guest, [&](GuestView& now) {
      if (now.alive) *now.facts.mutable_live_nics() = reply->facts().live_nics();
    });
  }
  absl::Status committed = CommitNicPlug(guest, nic, live_only, begun.row);
  if (!committed.ok()) {
    // What is not written down must not be there: it would be gone after the next boot.
    if (view.alive) {
      Request undo;
      undo.mutable_unplug_nic()->set_device(device);
      undo.mutable_unplug_nic()->set_etag(view.row.version);
      absl::Status undone = runtime_->Call(guest, undo, GuestRuntime::kChangePatience).status();
      if (!undone.ok()) spdlog::error("{}: undoing the plug of {}: {}", noun, device, std::string(undone.message()));
    }
    operations_->Finish(begun.row, committed);
    return Annotate(committed, noun);
  }
  return ToDevice(table_->View(guest), nic, !live_only || wanted != nullptr);
}

absl::Status Guests::CommitNicPlug(const GuestPtr& guest, const state::NicRow& nic, bool live_only,
                                   const state::OperationRow& operation) {
  GuestTable::Change change;
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  change.edit = [&](state::GuestRow& row) {
    if (live_only || FindNicRow(row.nics, nic.device) != nullptr) return absl::OkStatus();
    AddNicRow(&row.nics, nic);
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "nic.plugged";
  event.subject = operation.target;
  event.message = nic.spec;
  change.events = {event};
  change.finished = &done;
  return table_->Commit(guest, change);
}

absl::Status Guests::UnplugNic(const GuestPtr& guest, const std::string& name, bool live_only,
                               const std::string& request_id) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  RETURN_IF_ERROR(devices::ParseNicName(name).status());
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) return OperationStatus(*earlier);
  }
  const bool is_live = FindNicRow(LiveNics(view), name) != nullptr;
  const bool wanted = FindNicRow(view.row.nics, name) != nullptr;
  if (!is_live && (!wanted || live_only)) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat(noun, " has no ", name),
                     {"DEVICE_NOT_PLUGGED", NicResource(view, name),
                      absl::StrCat("`umlctl describe ", view.row.name, "` shows its interfaces")});
  }
  state::OperationRow row;
  row.verb = "unplug";
  row.guest_id = view.row.id;
  row.target = NicResource(view, name);
  row.payload = absl::StrCat(live_only ? "live " : "", name);
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) return *repeated;
  if (view.alive) {
    Request request;
    request.mutable_unplug_nic()->set_device(name);
    request.mutable_unplug_nic()->set_live_only(live_only);
    request.mutable_unplug_nic()->set_etag(view.row.version + (live_only || !wanted ? 0 : 1));
    auto reply = runtime_->Call(guest, request, GuestRuntime::kChangePatience);
    if (!reply.ok()) {
      absl::Status refused = Annotate(reply.status(), noun);
      operations_->Finish(begun.row, refused);
      return refused;
    }
    table_->Update(guest, [&](GuestView& now) {
      if (now.alive) *now.facts.mutable_live_nics() = reply->facts().live_nics();
    });
  }
  absl::Status committed = CommitNicUnplug(guest, name, live_only, begun.row);
  // Undone by nothing: the guest has let go of it, and the wish says it comes back at the next boot.
  if (!committed.ok()) operations_->Finish(begun.row, committed);
  return Annotate(committed, noun);
}

absl::Status Guests::CommitNicUnplug(const GuestPtr& guest, const std::string& device, bool live_only,
                                     const state::OperationRow& operation) {
  GuestTable::Change change;
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  change.edit = [&](state::GuestRow& row) {
    if (live_only) return absl::OkStatus();
    const size_t erased = std::erase_if(row.nics, [&](const state::NicRow& nic) { return nic.device == device; });
    if (erased > 0) ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "nic.unplugged";
  event.subject = operation.target;
  event.message = device;
  change.events = {event};
  change.finished = &done;
  return table_->Commit(guest, change);
}

// A plug or unplug that the last umld did not finish: the running kernel says whether it happened.
void Guests::ResumeNicChange(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = Settled(guest, operation);
  absl::string_view payload = operation.payload;
  const bool live_only = absl::ConsumePrefix(&payload, "live ");
  absl::Status status = Interrupted(view, operation);
  const bool reachable = view.alive && view.unreachable_reason.empty();
  if (operation.verb == "plug" && reachable) {
    absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(payload);
    const std::vector<state::NicRow> live = LiveNics(view);
    const state::NicRow* nic = spec.ok() ? FindNicRow(live, devices::NicName(spec->device)) : nullptr;
    if (nic != nullptr && *nic == ToNicRow(*spec)) status = CommitNicPlug(guest, *nic, live_only, operation);
  } else if (operation.verb == "unplug" && reachable) {
    if (FindNicRow(LiveNics(view), payload) == nullptr) {
      status = CommitNicUnplug(guest, std::string(payload), live_only, operation);
    }
  }
  if (!status.ok()) operations_->Finish(operation, status);
}

absl::StatusOr<v1::Device> Guests::QueryNic(const GuestPtr& guest, const std::string& name) {
  const GuestView view = table_->View(guest);
  RETURN_IF_ERROR(devices::ParseNicName(name).status());
  const std::vector<state::NicRow> live = LiveNics(view);
  const state::NicRow* wanted = FindNicRow(view.row.nics, name);
  if (const state::NicRow* nic = FindNicRow(live, name)) return ToDevice(view, *nic, wanted != nullptr);
  if (wanted != nullptr && !view.alive) return ToDevice(view, *wanted, true);
  v1::Device none;
  none.set_name(NicResource(view, name));
  return none;
}

}  // namespace umld
