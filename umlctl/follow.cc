#include "umlctl/follow.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/operation_wait.h"
#include "umlctl/service_notify.h"
#include "umlctl/watch.h"

namespace umld::umlctl {
namespace {

bool HasKernel(v1::GuestState state) {
  return state != v1::STOPPED && state != v1::CRASHED && state != v1::GUEST_STATE_UNSPECIFIED;
}

absl::Status StartUnlessRunning(Session& session, Client& client, const std::string& name) {
  ASSIGN_OR_RETURN(const v1::Guest before, client.GetGuest(name));
  if (HasKernel(before.state())) return absl::OkStatus();
  v1::StartGuestRequest request;
  request.set_name(name);
  request.set_request_id(NewRequestId());
  Client::Warnings warnings;
  absl::StatusOr<v1::Operation> operation = client.StartGuest(request, &warnings);
  session.Warn(warnings);
  if (operation.status().code() == absl::StatusCode::kFailedPrecondition) {
    // Somebody else may have been quicker.
    ASSIGN_OR_RETURN(const v1::Guest now, client.GetGuest(name));
    return HasKernel(now.state()) ? absl::OkStatus() : operation.status();
  }
  RETURN_IF_ERROR(operation.status());
  return WaitForOperation(session, client, *std::move(operation)).status();
}

absl::Status CrashError(Client& client, const std::string& name) {
  std::string why = "it is not known why";
  if (const absl::StatusOr<v1::Guest> guest = client.GetGuest(name); guest.ok() && guest->has_last_exit()) {
    why = guest->last_exit().reason();
  }
  return MakeError(absl::StatusCode::kAborted, absl::StrCat("guest ", ShortName(name), " crashed: ", why),
                   {"GUEST_CRASHED", name, absl::StrCat("umlctl logs ", ShortName(name))});
}

// What the watch has told so far.
struct Followed {
  v1::GuestState state = v1::GUEST_STATE_UNSPECIFIED;
  uint64_t id = 0;
  bool ready = false;
  bool deleted = false;
  bool renamed = false;
};

// False: what was waited for has happened.
bool Take(const v1::WatchResponse& response, const std::string& name, Followed& followed) {
  v1::GuestState state = v1::GUEST_STATE_UNSPECIFIED;
  for (const v1::Guest& guest : response.snapshot()) {
    if (guest.name() != name) continue;
    state = guest.state();
    followed.id = guest.id();
  }
  if (response.has_event()) {
    const v1::Event& event = response.event();
    followed.deleted = event.type() == "guest.deleted";
    followed.renamed = event.type() == "guest.renamed";
    if (absl::StartsWith(event.type(), "guest.")) state = event.state();
  }
  if (state != v1::GUEST_STATE_UNSPECIFIED && state != followed.state) {
    followed.state = state;
    const bool runs = state == v1::RUNNING || state == v1::PAUSED;
    NotifyService(absl::StrCat(runs && !followed.ready ? "READY=1\n" : "", "STATUS=", StateText(state)));
    followed.ready = followed.ready || runs;
  }
  return !followed.deleted && !followed.renamed && (state == v1::GUEST_STATE_UNSPECIFIED || HasKernel(state));
}

absl::StatusOr<std::string> NewNameOf(Client& client, uint64_t id) {
  ASSIGN_OR_RETURN(const v1::ListGuestsResponse list, client.SummarizeGuests());
  for (const v1::Guest& guest : list.guests()) {
    if (guest.id() == id) return guest.name();
  }
  return absl::NotFoundError("it was renamed, and then deleted");
}

}  // namespace

absl::Status StartAndFollow(Session& session, const std::string& name_at_start) {
  std::string name = name_at_start;
  ASSIGN_OR_RETURN(Client* const client, session.client());
  RETURN_IF_ERROR(StartUnlessRunning(session, *client, name));
  Followed followed;
  while (true) {
    WatchOptions watch;
    watch.subject = name;
    // The guest runs whether or not umld does; to leave would be to say that it ended.
    watch.patience = absl::InfiniteDuration();
    RETURN_IF_ERROR(WatchThroughRestarts(
        *client, watch, [&](const v1::WatchResponse& response) { return Take(response, name, followed); },
        [&session](const std::string& line) { session.Note(line); }));
    if (!followed.renamed) break;
    followed.renamed = false;
    ASSIGN_OR_RETURN(name, NewNameOf(*client, followed.id));
  }
  if (followed.deleted) return absl::NotFoundError(absl::StrCat("guest ", ShortName(name), " was deleted"));
  if (followed.state == v1::CRASHED) return CrashError(*client, name);
  return absl::OkStatus();
}

}  // namespace umld::umlctl
