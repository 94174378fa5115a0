// Devices of a guest while it is defined or runs, and mconsole's words for them.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "devices/device_kind.h"
#include "google/protobuf/util/time_util.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/guests.h"

namespace umld {
namespace {

using vmcore::v1::Request;

// How long vmcore may take to be done with what an earlier umld asked: a guest that has to write its caches back to
// give memory takes its time.
constexpr absl::Duration kSettlePatience = absl::Seconds(60);
// What no kernel takes is not sent to a supervisor either.
absl::Status CheckCommand(absl::string_view command) {
  constexpr size_t kMost = 511;
  if (command.size() <= kMost) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("a command of ", command.size(), " bytes"),
                   {"INVALID_COMMAND", "", absl::StrCat("a kernel takes ", kMost, " at most")});
}

// "config" of what is not a disk, and everything else that has no verb of its own.
vmcore::v1::Request RawRequest(const v1::SendMconsoleRequest& request) {
  Request raw;
  raw.mutable_mconsole()->set_command(request.command());
  raw.mutable_mconsole()->set_force(request.force());
  if (request.has_deadline()) {
    constexpr int64_t kLongestMs = 60'000;
    const int64_t deadline = google::protobuf::util::TimeUtil::DurationToMilliseconds(request.deadline());
    raw.mutable_mconsole()->set_deadline_ms(static_cast<uint32_t>(std::clamp<int64_t>(deadline, 0, kLongestMs)));
  }
  return raw;
}

v1::SendMconsoleResponse Text(std::string text) {
  v1::SendMconsoleResponse response;
  response.set_text(std::move(text));
  return response;
}

}  // namespace

std::optional<absl::Status> Guests::Repeated(const Operations::Begun& begun) {
  if (begun.is_new) return std::nullopt;
  return OperationStatus(begun.row);
}

absl::StatusOr<v1::Device> Guests::Plug(const GuestPtr& guest, const std::string& spec, bool live_only,
                                        const std::string& request_id, const Caller& caller) {
  switch (devices::KindOfDevice(spec)) {
    case devices::DeviceKind::kMemory:
      return ChangeMemory(guest, spec, request_id);
    case devices::DeviceKind::kConsole:
      return PlugConsole(guest, spec, live_only, request_id, caller);
    case devices::DeviceKind::kNic:
      return PlugNic(guest, spec, live_only, request_id, caller);
    default:
      return PlugDisk(guest, spec, live_only, request_id, caller);
  }
}

absl::Status Guests::Unplug(const GuestPtr& guest, const std::string& name, bool live_only,
                            const std::string& request_id) {
  if (devices::KindOfDevice(name) == devices::DeviceKind::kConsole) {
    return UnplugConsole(guest, name, live_only, request_id);
  }
  if (devices::KindOfDevice(name) == devices::DeviceKind::kNic) return UnplugNic(guest, name, live_only, request_id);
  return UnplugDisk(guest, name, live_only, request_id);
}

void Guests::ResumeDeviceChange(const GuestPtr& guest, const state::OperationRow& operation) {
  if (operation.verb == "memory") return ResumeMemoryChange(guest, operation);
  if (operation.verb == "resize") return ResumeResize(guest, operation);
  if (absl::StrContains(operation.target, "/consoles/")) return ResumeConsoleChange(guest, operation);
  if (absl::StrContains(operation.target, "/nics/")) return ResumeNicChange(guest, operation);
  ResumeDiskChange(guest, operation);
}

GuestView Guests::Settled(const GuestPtr& guest, const state::OperationRow& operation) {
  // vmcore may still be at it: it does not stop because the umld that asked has died.
  if (table_->View(guest).alive) {
    absl::Status settled = runtime_->Settle(guest, kSettlePatience);
    if (!settled.ok()) spdlog::warn("{}: {}", operation.target, std::string(settled.message()));
  }
  return table_->View(guest);
}

absl::Status Guests::Interrupted(const GuestView& view, const state::OperationRow& operation) {
  if (view.alive && !view.unreachable_reason.empty()) {
    return MakeError(absl::StatusCode::kUnavailable,
                     absl::StrCat("umld was restarted before it was done, and the guest does not answer: whether it "
                                  "was done is not known (",
                                  view.unreachable_reason, ")"),
                     {"OUTCOME_UNKNOWN", operation.target,
                      absl::StrCat("`umlctl describe ", view.row.name, "` tells, as soon as the guest answers again")});
  }
  return MakeError(absl::StatusCode::kAborted, "umld was restarted before it was done; nothing was changed",
                   {"INTERRUPTED", operation.target, "ask for it again"});
}

absl::StatusOr<v1::Device> Guests::Query(const GuestPtr& guest, const std::string& name) {
  RETURN_IF_ERROR(CheckCommand(name));
  if (devices::KindOfDevice(name) == devices::DeviceKind::kDisk) return QueryDisk(guest, name);
  if (devices::KindOfDevice(name) == devices::DeviceKind::kConsole) return QueryConsole(guest, name);
  if (devices::KindOfDevice(name) == devices::DeviceKind::kNic) return QueryNic(guest, name);
  const GuestView view = table_->View(guest);
  v1::Device device;
  device.set_name(absl::StrCat(view.name(), "/devices/", name));
  if (name == "mem") {
    // The kernel would answer with the address at which its memory starts.
    device.set_spec(FormatByteSize(view.row.memory_bytes));
    return device;
  }
  v1::SendMconsoleRequest request;
  request.set_command("config " + name);
  Request raw = RawRequest(request);
  ASSIGN_OR_RETURN(auto reply, runtime_->Call(guest, raw, absl::Seconds(15)));
  if (reply.mconsole().err() != 0) {
    return MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("guest ", view.row.name, ": the kernel says of ", name, ": ", reply.mconsole().text()),
        {"KERNEL_REFUSED", device.name(),
         "ubda to ubdp, con0 to con15, ssl0 to ssl63, eth0 to eth15, vec0 to vec15 and mem can be asked"});
  }
  device.set_spec(reply.mconsole().text());
  return device;
}

absl::StatusOr<v1::SendMconsoleResponse> Guests::SendMconsole(const GuestPtr& guest,
                                                              const v1::SendMconsoleRequest& request,
                                                              const Caller& caller) {
  // Commands that change what umld keeps account of take umld's own way; the kernel alone would not tell it.
  absl::string_view command = absl::StripAsciiWhitespace(request.command());
  const std::string name = table_->View(guest).row.name;
  if (absl::string_view device = command; absl::ConsumePrefix(&device, "config ")) {
    const std::string text(absl::StripAsciiWhitespace(device));
    if (text.find('=') != std::string::npos) {
      RETURN_IF_ERROR(Plug(guest, text, /*live_only=*/false, /*request_id=*/"", caller).status());
      return Text("");
    }
    ASSIGN_OR_RETURN(v1::Device answer, Query(guest, text));
    return Text(answer.spec());
  }
  if (absl::string_view device = command; absl::ConsumePrefix(&device, "remove ")) {
    RETURN_IF_ERROR(Unplug(guest, std::string(absl::StripAsciiWhitespace(device)), /*live_only=*/false, ""));
    return Text("");
  }
  if (command == "stop") {
    RETURN_IF_ERROR(Pause(guest).status());
    return Text("stopped");
  }
  if (command == "go") {
    RETURN_IF_ERROR(Resume(guest).status());
    return Text("");
  }
  if (command == "halt" || command == "reboot") {
    v1::StopPolicy now;
    now.set_now(true);
    RETURN_IF_ERROR((command == "halt" ? Stop(name, now, "") : Reboot(name, now, "")).status());
    return Text("");
  }
  RETURN_IF_ERROR(CheckCommand(request.command()));
  // Some read files (`proc 1/root/etc/shadow`).
  RETURN_IF_ERROR(
      CheckUnconfined(table_->View(guest), "what the kernel of a guest that is not confined is asked", caller));
  Request raw = RawRequest(request);
  const absl::Duration deadline =
      absl::Milliseconds(raw.mconsole().deadline_ms() == 0 ? 10'000 : raw.mconsole().deadline_ms());
  ASSIGN_OR_RETURN(auto reply, runtime_->Call(guest, raw, deadline + absl::Seconds(30)));
  v1::SendMconsoleResponse response;
  response.set_err(reply.mconsole().err());
  response.set_text(reply.mconsole().text());
  return response;
}

}  // namespace umld
