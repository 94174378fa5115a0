// The consoles and serial lines of a guest while it is defined or runs.
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "devices/console/console_spec.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/console_wish.h"
#include "umld/guests.h"

namespace umld {
namespace {

using devices::ConsoleAssignment;
using devices::ConsoleChannel;
using devices::ConsoleDevice;
using vmcore::v1::Request;

// A line, or "con" and "ssl" for those of the kind that have no word of their own.
std::string DeviceOf(const ConsoleAssignment& wanted) {
  if (wanted.unit.has_value()) return devices::ConsoleName({wanted.serial, *wanted.unit});
  return wanted.serial ? "ssl" : "con";
}

std::string Resource(const GuestView& view, absl::string_view device) {
  return absl::StrCat(view.name(), "/consoles/", device);
}

absl::StatusOr<ConsoleAssignment> Parse(absl::string_view text, const Caller& caller = Caller()) {
  ASSIGN_OR_RETURN(ConsoleAssignment wanted, devices::ParseConsoleAssignment(text));
  for (const ConsoleChannel* channel : {&wanted.in, &wanted.out}) {
    RETURN_IF_ERROR(devices::CheckConsoleFd(*channel));
    RETURN_IF_ERROR(CheckAdminOnly(AdminOnlyChannel(*channel), caller));
  }
  const bool is_con0 = !wanted.serial && wanted.unit.value_or(0) == 0;
  if (is_con0 && wanted.in.kind == ConsoleChannel::Kind::kNone) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(text, ": con0 takes the kernel's own messages"),
                     {"CONSOLE_NEEDED", "con0", "con0=null keeps them in the log alone; con1 is the login"});
  }
  return wanted;
}

const vmcore::v1::ConsoleFacts* FindLive(const GuestView& view, absl::string_view device) {
  for (const vmcore::v1::ConsoleFacts& console : view.facts.consoles()) {
    if (console.name() == device) return &console;
  }
  return nullptr;
}

// What the running kernel has there.
std::string LiveChannels(const GuestView& view, absl::string_view device) {
  const vmcore::v1::ConsoleFacts* live = FindLive(view, device);
  return live == nullptr ? "null" : live->channels();
}

}  // namespace

absl::StatusOr<std::vector<state::ConsoleRow>> Guests::NewConsoles(const v1::CreateGuestRequest& request,
                                                                   const Caller& caller) {
  std::vector<std::string> specs(request.console_specs().begin(), request.console_specs().end());
  for (const v1::Console& console : request.guest().consoles()) {
    specs.push_back(ConsoleWish(console));
  }
  state::GuestRow row;
  for (const std::string& text : specs) {
    ASSIGN_OR_RETURN(ConsoleAssignment wanted, Parse(text, caller));
    const std::string device = DeviceOf(wanted);
    if (FindConsoleRow(row, device) != nullptr) {
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(device, " is given twice"),
                       {"DEVICE_GIVEN_TWICE", device, "give each console once"});
    }
    row.consoles.push_back({device, devices::PrintConsoleValue(wanted.in, wanted.out)});
  }
  return row.consoles;
}

absl::StatusOr<v1::Device> Guests::PlugConsole(const GuestPtr& guest, const std::string& text, bool live_only,
                                               const std::string& request_id, const Caller& caller) {
  const GuestView view = table_->View(guest);
  // Who is root in it has what umld has.
  RETURN_IF_ERROR(CheckUnconfined(view, "a console of a guest that is not confined", caller));
  ASSIGN_OR_RETURN(ConsoleAssignment wanted, Parse(text, caller));
  const std::string device = DeviceOf(wanted);
  if (!wanted.unit.has_value() && (view.alive || live_only)) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("guest ", view.row.name, ": a running kernel takes no default for all lines"),
        {"WRONG_STATE", view.name(),
         absl::StrCat("stop it first, or set the lines one by one: ", device, wanted.serial ? "0" : "2", "=...")});
  }
  RETURN_IF_ERROR(ChangeConsole(guest, device, devices::PrintConsoleValue(wanted.in, wanted.out), /*forget=*/false,
                                live_only, "plug", request_id));
  if (!wanted.unit.has_value()) {
    v1::Device answer;
    answer.set_name(Resource(view, device));
    answer.set_spec(devices::PrintConsoleValue(wanted.in, wanted.out));
    return answer;
  }
  return QueryConsole(guest, device);
}

absl::Status Guests::UnplugConsole(const GuestPtr& guest, const std::string& name, bool live_only,
                                   const std::string& request_id) {
  const GuestView view = table_->View(guest);
  if ((name == "con" || name == "ssl") && FindConsoleRow(view.row, name) != nullptr && !view.alive) {
    return ChangeConsole(guest, name, "null", /*forget=*/true, live_only, "unplug", request_id);
  }
  ASSIGN_OR_RETURN(ConsoleDevice device, devices::ParseConsoleName(name));
  RETURN_IF_ERROR(Annotate(Parse(name + "=none").status(), absl::StrCat("guest ", view.row.name)));
  const std::string now = view.alive ? LiveChannels(view, name) : WantedConsole(view.row, device);
  if (now == "none" || (now == "null" && FindConsoleRow(view.row, name) == nullptr)) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", view.row.name, " has no ", name),
                     {"DEVICE_NOT_PLUGGED", Resource(view, name),
                      absl::StrCat("`umlctl describe ", view.row.name, "` shows its consoles")});
  }
  state::GuestRow without = view.row;
  std::erase_if(without.consoles, [&](const state::ConsoleRow& row) { return row.device == name; });
  return ChangeConsole(guest, name, "none", /*forget=*/!HasConsoleDefault(without, device), live_only, "unplug",
                       request_id);
}

// The one way in which a line changes: intent, effect, outcome. `forget`: the wish has no word on it afterwards.
absl::Status Guests::ChangeConsole(const GuestPtr& guest, const std::string& device, const std::string& channels,
                                   bool forget, bool live_only, const char* verb, const std::string& request_id) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) return OperationStatus(*earlier);
  }
  if (live_only && !view.alive) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(noun, " is not running"),
                     {"NOT_RUNNING", view.name(), "leave out --live-only to change its next start"});
  }
  state::OperationRow row;
  row.verb = verb;
  row.guest_id = view.row.id;
  row.target = Resource(view, device);
  row.payload = absl::StrCat(live_only ? "live " : "", forget ? "forget " : "", device, "=", channels);
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) return *repeated;
  const std::string before = LiveChannels(view, device);
  auto set = [&](const std::string& wanted, bool undo) {
    Request request;
    request.mutable_set_console()->mutable_console()->set_device(device);
    request.mutable_set_console()->mutable_console()->set_channels(wanted);
    request.mutable_set_console()->set_live_only(live_only);
    request.mutable_set_console()->set_forget(undo ? FindConsoleRow(view.row, device) == nullptr : forget);
    request.mutable_set_console()->set_etag(view.row.version + (live_only || undo ? 0 : 1));
    return runtime_->Call(guest, request, GuestRuntime::kChangePatience);
  };
  if (view.alive) {
    auto reply = set(channels, /*undo=*/false);
    if (!reply.ok()) {
      absl::Status refused = Annotate(reply.status(), noun);
      operations_->Finish(begun.row, refused);
      return refused;
    }
    // Who asks next shall see it: vmcore's own message may come behind its reply.
    table_->Update(guest, [&](GuestView& now) {
      if (now.alive) *now.facts.mutable_consoles() = reply->facts().consoles();
    });
  }
  absl::Status committed = CommitConsole(guest, device, channels, forget, live_only, begun.row);
  if (committed.ok()) return committed;
  // What is not written down must not be there: it would be gone after the next boot.
  if (view.alive) {
    absl::Status undone = set(before, /*undo=*/true).status();
    if (!undone.ok()) spdlog::error("{}: undoing the change of {}: {}", noun, device, std::string(undone.message()));
  }
  operations_->Finish(begun.row, committed);
  return Annotate(committed, noun);
}

absl::Status Guests::CommitConsole(const GuestPtr& guest, const std::string& device, const std::string& channels,
                                   bool forget, bool live_only, const state::OperationRow& operation) {
  GuestTable::Change change;
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  change.edit = [&](state::GuestRow& row) {
    if (live_only) return absl::OkStatus();
    if (forget) {
      std::erase_if(row.consoles, [&](const state::ConsoleRow& console) { return console.device == device; });
    } else {
      SetConsoleRow(&row, device, channels);
    }
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = operation.verb == "plug" ? "console.plugged" : "console.unplugged";
  event.subject = operation.target;
  event.message = absl::StrCat(device, "=", channels);
  change.events = {event};
  change.finished = &done;
  return table_->Commit(guest, change);
}

// A change that the last umld did not finish: the running kernel says whether it happened.
void Guests::ResumeConsoleChange(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = Settled(guest, operation);
  absl::string_view payload = operation.payload;
  const bool live_only = absl::ConsumePrefix(&payload, "live ");
  const bool forget = absl::ConsumePrefix(&payload, "forget ");
  const size_t equals = payload.find('=');
  const std::string device(payload.substr(0, equals));
  const std::string channels(equals == absl::string_view::npos ? "" : payload.substr(equals + 1));
  absl::Status status = Interrupted(view, operation);
  if (view.alive && view.unreachable_reason.empty() && LiveChannels(view, device) == channels) {
    status = CommitConsole(guest, device, channels, forget, live_only, operation);
  }
  if (!status.ok()) operations_->Finish(operation, status);
}

absl::StatusOr<v1::Device> Guests::QueryConsole(const GuestPtr& guest, const std::string& name) {
  const GuestView view = table_->View(guest);
  ASSIGN_OR_RETURN(ConsoleDevice device, devices::ParseConsoleName(name));
  v1::Device answer;
  answer.set_name(Resource(view, name));
  if (view.alive) {
    const vmcore::v1::ConsoleFacts* live = FindLive(view, name);
    answer.set_spec(live == nullptr ? "null" : live->reported());
  } else {
    answer.set_spec(WantedConsole(view.row, device));
  }
  const v1::Guest shown = Show(guest);
  for (const v1::Console& console : shown.consoles()) {
    if (console.name() == answer.name()) *answer.mutable_console() = console;
  }
  return answer;
}

}  // namespace umld
