// From Start to Kill: operations that take a guest's kernel from one state to another.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "google/protobuf/util/time_util.h"
#include "spdlog/spdlog.h"
#include "umld/guests.h"

namespace umld {
namespace {

using vmcore::v1::Request;

constexpr absl::Duration kBootPatience = absl::Minutes(5);
constexpr absl::Duration kOrderlyGrace = absl::Seconds(30);
// What the steps after the orderly one may take together, and vmcore's own leaving.
constexpr absl::Duration kLaterSteps = absl::Seconds(30);
constexpr absl::Duration kReply = absl::Seconds(5);

// Stop and Reboot remember their policy as the API's message, and Reboot the number of boots before it.
struct PowerPayload {
  v1::StopPolicy policy;
  uint32_t boots = 0;

  std::string Encode() const { return absl::StrCat(boots, ";", policy.SerializeAsString()); }
  static PowerPayload Decode(const std::string& text) {
    PowerPayload payload;
    const size_t semicolon = text.find(';');
    if (semicolon == std::string::npos) return payload;
    if (!absl::SimpleAtoi(text.substr(0, semicolon), &payload.boots)) payload.boots = 0;
    payload.policy.ParseFromString(text.substr(semicolon + 1));
    return payload;
  }
  absl::Duration Grace() const {
    if (!policy.has_timeout()) return kOrderlyGrace;
    return absl::Milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(policy.timeout()));
  }
};

absl::Status CheckPolicy(const v1::StopPolicy& policy) {
  if (!policy.has_timeout()) return absl::OkStatus();
  const int64_t seconds = policy.timeout().seconds();
  if (seconds >= 0 && policy.timeout().nanos() >= 0 && seconds <= 24 * 3600) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "the timeout is negative or longer than a day",
                   {"INVALID_TIMEOUT", "", "give 0 to 24h"});
}

absl::Status NotRunning(const GuestView& view) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", view.row.name, " is not running (", v1::GuestState_Name(view.state()), ")"),
                   {"NOT_RUNNING", view.name(), absl::StrCat("`umlctl start ", view.row.name, "` starts it")});
}

absl::Status Crashed(const GuestView& view) {
  const std::string reason = view.row.last_exit.has_value() ? view.row.last_exit->reason : "no reason known";
  return MakeError(
      absl::StatusCode::kAborted, absl::StrCat("guest ", view.row.name, " ended before it was running: ", reason),
      {"GUEST_CRASHED", view.name(),
       absl::StrCat("`umlctl describe ", view.row.name, "` and `umlctl logs ", view.row.name, "` say more")});
}

}  // namespace

absl::StatusOr<OperationView> Guests::Begin(const std::string& name, const char* verb, const std::string& payload,
                                            const std::string& request_id, bool beside_the_line, Body body) {
  ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(name));
  const GuestView view = table_->View(guest);
  state::OperationRow row;
  row.verb = verb;
  row.guest_id = view.row.id;
  row.target = view.name();
  row.payload = payload;
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  Run(guest, begun.row, beside_the_line, /*resumed=*/false, std::move(body));
  return OperationView{.row = begun.row};
}

void Guests::Run(const GuestPtr& guest, const state::OperationRow& operation, bool beside_the_line, bool resumed,
                 Body body) {
  (beside_the_line ? urgent_pool_ : pool_)->SubmitInLine(operation.guest_id, [=, this] {
    absl::Status status;
    if (table_->View(guest).deleting) {
      status = MakeError(absl::StatusCode::kNotFound, absl::StrCat(operation.target, " has been deleted"),
                         {"GUEST_NOT_FOUND", operation.target, ""});
    } else {
      table_->Update(guest, [&](GuestView& view) { view.operation = operation.id; });
      status = body(guest, operation, resumed);
      table_->Update(guest, [&](GuestView& view) {
        if (view.operation == operation.id) view.operation = 0;
      });
    }
    operations_->Finish(operation, status);
  });
}

absl::StatusOr<OperationView> Guests::Start(const std::string& name, const std::string& request_id) {
  return Begin(name, "start", "", request_id, false,
               [this](const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
                 return RunStart(guest, operation, resumed);
               });
}

absl::StatusOr<OperationView> Guests::Stop(const std::string& name, const v1::StopPolicy& policy,
                                           const std::string& request_id) {
  RETURN_IF_ERROR(CheckPolicy(policy));
  return Begin(name, "stop", PowerPayload{policy, 0}.Encode(), request_id, false,
               [this](const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
                 return RunStop(guest, operation, resumed);
               });
}

absl::StatusOr<OperationView> Guests::Reboot(const std::string& name, const v1::StopPolicy& policy,
                                             const std::string& request_id) {
  RETURN_IF_ERROR(CheckPolicy(policy));
  ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(name));
  const uint32_t boots = table_->View(guest).facts.boots();
  return Begin(name, "reboot", PowerPayload{policy, boots}.Encode(), request_id, false,
               [this](const GuestPtr& asked, const state::OperationRow& operation, bool resumed) {
                 return RunReboot(asked, operation, resumed);
               });
}

absl::StatusOr<OperationView> Guests::Kill(const std::string& name, const std::string& request_id) {
  return Begin(name, "kill", "", request_id, true,
               [this](const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
                 if (resumed && !table_->View(guest).alive) return absl::OkStatus();
                 return RunKill(guest, operation);
               });
}

absl::Status Guests::RunStart(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  GuestView view = table_->View(guest);
  const std::string name = view.row.name;
  VolumeCatalog::Hold hold;
  if (view.alive && !resumed) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("guest ", name, " is running already (", v1::GuestState_Name(view.state()), ")"),
                     {"ALREADY_RUNNING", view.name(), ""});
  }
  if (!view.alive) {
    operations_->SetProgress(operation.id, 10, "checking its kernel and disks");
    // Until it runs, and so has them.
    const absl::StatusOr<VolumeCatalog::Hold> used = volumes_->Use(view.row.disks);
    if (!used.ok()) return Annotate(used.status(), absl::StrCat("guest ", name));
    hold = *used;
    for (const state::DiskRow& disk : view.row.disks) {
      if (!disk.managed) {
        RETURN_IF_ERROR(Annotate(CheckDisk(disk, view.row.disks, view.row.id), absl::StrCat("guest ", name)));
      }
    }
    operations_->SetProgress(operation.id, 40, "booting");
    const absl::StatusOr<std::string> launched = runtime_->Launch(guest);
    if (!launched.ok()) return Annotate(launched.status(), absl::StrCat("guest ", name));
    operations_->SetNote(operation.id, *launched);
  }
  auto up_or_gone = [](const GuestView& now) {
    return !now.alive || now.state() == v1::RUNNING || now.state() == v1::PAUSED;
  };
  const bool settled = table_->WaitUntil(guest, kBootPatience, up_or_gone);
  GuestTable::Change wish;
  wish.edit = [&](state::GuestRow& row) {
    // If it ended meanwhile, that is recorded already and the wish with it.
    row.wanted_running = table_->View(guest).alive;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(table_->Commit(guest, wish));
  view = table_->View(guest);
  if (!view.alive) return Crashed(view);
  if (settled) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("guest ", name, " has not come up within ", absl::FormatDuration(kBootPatience)),
                   {"BOOT_TIMED_OUT", view.name(), absl::StrCat("it goes on booting; see `umlctl logs ", name, "`")});
}

absl::Status Guests::AwaitEnd(const GuestPtr& guest, absl::Duration patience) {
  if (table_->WaitUntil(guest, patience, [](const GuestView& view) { return !view.alive; })) return absl::OkStatus();
  const GuestView view = table_->View(guest);
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("guest ", view.row.name, " is still there after ", absl::FormatDuration(patience)),
                   {"STILL_RUNNING", view.name(), absl::StrCat("`umlctl kill ", view.row.name, "` ends it at once")});
}

absl::Status Guests::RunStop(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  const GuestView view = table_->View(guest);
  if (!view.alive) return resumed ? absl::OkStatus() : NotRunning(view);
  const PowerPayload payload = PowerPayload::Decode(operation.payload);
  Request request;
  request.mutable_stop()->set_skip_orderly(payload.policy.now() || payload.Grace() == absl::ZeroDuration());
  request.mutable_stop()->set_orderly_grace_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(payload.Grace())));
  operations_->SetProgress(operation.id, 10, payload.policy.now() ? "halting" : "asking its init to shut down");
  absl::Status asked = runtime_->Call(guest, request, kReply).status();
  // It may have ended on its own while it was asked.
  if (!asked.ok() && table_->View(guest).alive && !absl::IsUnavailable(asked)) {
    return Annotate(asked, absl::StrCat("guest ", view.row.name));
  }
  if (!asked.ok() && !table_->View(guest).unreachable_reason.empty()) {
    return Annotate(asked, absl::StrCat("guest ", view.row.name));
  }
  return AwaitEnd(guest, payload.Grace() + kLaterSteps);
}

absl::Status Guests::RunReboot(const GuestPtr& guest, const state::OperationRow& operation, bool resumed) {
  GuestView view = table_->View(guest);
  if (!view.alive) return NotRunning(view);
  const std::string name = view.row.name;
  const PowerPayload payload = PowerPayload::Decode(operation.payload);
  // Counted when it was asked, so that a reboot which happened before a restart of umld is not done twice.
  const uint32_t boots = resumed ? payload.boots : view.facts.boots();
  if (view.facts.boots() <= boots && !(resumed && view.state() == v1::STOPPING)) {
    Request request;
    request.mutable_reboot()->set_skip_orderly(payload.policy.now() || payload.Grace() == absl::ZeroDuration());
    request.mutable_reboot()->set_orderly_grace_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(payload.Grace())));
    operations_->SetProgress(operation.id, 10, "shutting down");
    RETURN_IF_ERROR(Annotate(runtime_->Call(guest, request, kReply).status(), absl::StrCat("guest ", name)));
  }
  const bool settled = table_->WaitUntil(
      guest, payload.Grace() + kLaterSteps + kBootPatience,
      [&](const GuestView& now) { return !now.alive || (now.facts.boots() > boots && now.state() == v1::RUNNING); });
  view = table_->View(guest);
  if (!view.alive) return Crashed(view);
  if (settled) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDeadlineExceeded, absl::StrCat("guest ", name, " has not come up again"),
                   {"BOOT_TIMED_OUT", view.name(), absl::StrCat("see `umlctl logs ", name, "`")});
}

absl::Status Guests::RunKill(const GuestPtr& guest, const state::OperationRow&) {
  const GuestView view = table_->View(guest);
  if (!view.alive) return NotRunning(view);
  Request request;
  request.mutable_kill();
  absl::Status asked = runtime_->Call(guest, request, absl::Seconds(2)).status();
  if (asked.ok() && AwaitEnd(guest, absl::Seconds(5)).ok()) return absl::OkStatus();
  // A supervisor that does not do it loses its own life: its namespace, and so the guest, goes with it.
  if (table_->View(guest).alive) runtime_->KillSupervisor(guest);
  return AwaitEnd(guest, absl::Seconds(15));
}

absl::StatusOr<v1::Guest> Guests::Pause(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  if (!view.alive) return NotRunning(view);
  Request request;
  request.mutable_pause();
  ASSIGN_OR_RETURN(auto reply, runtime_->Call(guest, request, GuestRuntime::kChangePatience));
  table_->WaitUntil(guest, kReply, [](const GuestView& now) { return !now.alive || now.state() == v1::PAUSED; });
  return Show(guest);
}

absl::StatusOr<v1::Guest> Guests::Resume(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  if (!view.alive) return NotRunning(view);
  Request request;
  request.mutable_resume();
  ASSIGN_OR_RETURN(auto reply, runtime_->Call(guest, request, absl::Seconds(20)));
  table_->WaitUntil(guest, kReply, [](const GuestView& now) { return !now.alive || now.state() != v1::PAUSED; });
  return Show(guest);
}

void Guests::ResumeOperation(const state::OperationRow& operation) {
  operations_->Resume(operation);
  const absl::StatusOr<GuestPtr> found = table_->FindById(operation.guest_id);
  if (!found.ok()) {
    return operations_->Finish(operation,
                               MakeError(absl::StatusCode::kAborted, "umld was restarted in the middle of it",
                                         {"INTERRUPTED", operation.target, "ask for it again"}));
  }
  const GuestPtr& guest = *found;
  spdlog::info("{}: {} of {} goes on", OperationName(operation.id), operation.verb, operation.target);
  if (operation.verb == "start") {
    Run(guest, operation, false, true, [this](const auto& g, const auto& o, bool r) { return RunStart(g, o, r); });
  } else if (operation.verb == "stop") {
    Run(guest, operation, false, true, [this](const auto& g, const auto& o, bool r) { return RunStop(g, o, r); });
  } else if (operation.verb == "reboot") {
    Run(guest, operation, false, true, [this](const auto& g, const auto& o, bool r) { return RunReboot(g, o, r); });
  } else if (operation.verb == "reset") {
    Run(guest, operation, false, true, [this](const auto& g, const auto& o, bool r) { return RunReset(g, o, r); });
  } else if (operation.verb == "kill") {
    Run(guest, operation, true, true, [this](const auto& g, const auto& o, bool) {
      return table_->View(g).alive ? RunKill(g, o) : absl::OkStatus();
    });
  } else if (operation.verb == "delete") {
    table_->Update(guest, [](GuestView& view) { view.deleting = true; });
    pool_->SubmitInLine(operation.guest_id, [=, this] {
      absl::Status status = table_->View(guest).alive ? RunKill(guest, operation) : absl::OkStatus();
      if (status.ok()) status = RunDelete(guest, operation);
      if (status.ok()) return;
      table_->Update(guest, [](GuestView& view) { view.deleting = false; });
      operations_->Finish(operation, status);
    });
  } else {
    pool_->SubmitInLine(operation.guest_id, [=, this] { ResumeDeviceChange(guest, operation); });
  }
}

void Guests::TakeOverConfig(const GuestPtr& guest) {
  pool_->SubmitInLine(table_->View(guest).row.id, [this, guest] {
    const GuestView view = table_->View(guest);
    if (view.alive && !view.deleting) runtime_->TakeOverConfig(guest, view.facts.config());
  });
}

void Guests::StartWanted() {
  for (const GuestPtr& guest : table_->All()) {
    const GuestView view = table_->View(guest);
    const bool host_went_down = view.row.last_exit.has_value() && view.row.last_exit->kind == v1::GuestExit::HOST_DOWN;
    if (view.alive || !view.row.wanted_running || !host_went_down) continue;
    spdlog::info("guest {}: ran when the host went down; starting it", view.row.name);
    absl::Status status = Start(view.row.name, "").status();
    if (!status.ok()) spdlog::error("guest {}: {}", view.row.name, std::string(status.message()));
  }
}

}  // namespace umld
