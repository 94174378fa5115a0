#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "umlctl/duration.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"
#include "umlctl/watch.h"

namespace umld::umlctl {
namespace {

struct Options {
  GuestSelection guests;
  std::string wanted = "running";
  std::string timeout;
};

// What the watch has told so far.
struct Seen {
  v1::GuestState state = v1::GUEST_STATE_UNSPECIFIED;
  std::string gone;  // "deleted" or "renamed"
  bool changed = false;
};

// False: no need to wait longer.
bool Take(const v1::WatchResponse& response, const std::string& name, v1::GuestState wanted, Seen& seen) {
  for (const v1::Guest& guest : response.snapshot()) {
    if (guest.name() == name) seen.state = guest.state();
  }
  if (response.has_event() && absl::StartsWith(response.event().type(), "guest.")) {
    const v1::Event& event = response.event();
    if (event.type() == "guest.deleted" || event.type() == "guest.renamed") seen.gone = event.type().substr(6);
    if (event.state() != v1::GUEST_STATE_UNSPECIFIED) seen.state = event.state();
    seen.changed = true;
  }
  if (seen.state == wanted || !seen.gone.empty()) return false;
  const bool ended = seen.state == v1::STOPPED || seen.state == v1::CRASHED;
  // A guest that has ended can still be started by somebody, and that may be what the caller waits for; one that ends
  // while we look, or ended as the caller did not hope, will not come to the wanted state.
  return !ended || (!seen.changed && wanted != v1::STOPPED && wanted != v1::CRASHED) ||
         (!seen.changed && seen.state == v1::STOPPED);
}

absl::StatusOr<GuestResult> WaitOne(Session& session, Client& client, const std::string& name, v1::GuestState wanted,
                                    absl::Duration timeout) {
  // Says "not found" at once, where a watch would wait for somebody to create it.
  RETURN_IF_ERROR(client.GetGuest(name).status());
  Seen seen;
  WatchOptions watch;
  watch.subject = name;
  watch.deadline = absl::Now() + timeout;
  const std::string umid = ShortName(name);
  const absl::Status status = WatchThroughRestarts(
      client, watch, [&](const v1::WatchResponse& response) { return Take(response, name, wanted, seen); },
      [&session](const std::string& line) { session.Note(line); });
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return MakeError(status.code(),
                     absl::StrCat("guest ", umid, " is ", StateText(seen.state), ", not ", StateText(wanted),
                                  ", after ", absl::FormatDuration(timeout)),
                     {"WAIT_TIMED_OUT", name, absl::StrCat("umlctl describe ", umid, "; or wait longer")});
  }
  RETURN_IF_ERROR(status);
  if (!seen.gone.empty()) return absl::NotFoundError(absl::StrCat("guest ", umid, " was ", seen.gone));
  if (seen.state != wanted) {
    return SaidNo(absl::StrCat("guest ", umid, " is ", StateText(seen.state), ", not ", StateText(wanted)), name,
                  absl::StrCat("umlctl describe ", umid, "   says why"));
  }
  absl::StatusOr<v1::Guest> guest = client.GetGuest(name);
  RETURN_IF_ERROR(guest.status());
  return GuestResult{absl::AsciiStrToLower(StateText(wanted)), std::make_shared<v1::Guest>(*std::move(guest))};
}

absl::Status Wait(Session& session, const Options& options) {
  absl::Duration timeout = absl::InfiniteDuration();
  if (!options.timeout.empty()) {
    ASSIGN_OR_RETURN(timeout, ParseDuration(options.timeout));
  }
  v1::GuestState wanted = v1::GUEST_STATE_UNSPECIFIED;
  if (!v1::GuestState_Parse(absl::AsciiStrToUpper(options.wanted), &wanted)) {
    return UsageError(absl::StrCat("\"", options.wanted, "\" is not a state"), "running, stopped, paused or crashed");
  }
  return ForEachGuest(
      session, options.guests, [](v1::GuestState) { return true; },
      [&](Client& client, const std::string& name) { return WaitOne(session, client, name, wanted, timeout); });
}

}  // namespace

void AddWait(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("wait", "Wait until guests are in a state")->group(kGuestsGroup);
  auto options = std::make_shared<Options>();
  AddGuestSelection(*verb, options->guests);
  verb->add_option("--for", options->wanted, "running (default), stopped, paused or crashed")
      ->check(CLI::IsMember({"running", "stopped", "paused", "crashed"}, CLI::ignore_case));
  verb->add_option("--timeout", options->timeout, "how long at most, as 30s or 2m; without it for ever");
  OnVerb(verb, session, [&session, options] { return Wait(session, *options); });
}

}  // namespace umld::umlctl
