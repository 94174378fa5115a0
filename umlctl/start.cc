#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/follow.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  GuestSelection guests;
  bool follow = false;
};

// `several`: one of them.
absl::StatusOr<GuestResult> StartOne(Session& session, Client& client, const std::string& name, bool several) {
  v1::StartGuestRequest request;
  request.set_name(name);
  request.set_request_id(NewRequestId());
  Client::Warnings warnings;
  ASSIGN_OR_RETURN(v1::Operation operation, client.StartGuest(request, &warnings));
  session.Warn(warnings, several ? ShortName(name) : "");
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, client, std::move(operation)));
  // Of a class of the warm pool it says what it got.
  const std::string& note = operation.progress();
  return GuestResult{note.empty() ? "started" : absl::StrCat("started (", note, ")"),
                     std::make_shared<v1::Operation>(std::move(operation))};
}

absl::Status Start(Session& session, const Options& options) {
  if (options.follow) {
    if (options.guests.all || options.guests.names.size() != 1) {
      return UsageError("--follow takes one guest", "umlctl start --follow NAME");
    }
    ASSIGN_OR_RETURN(const std::string name, GuestName(options.guests.names[0]));
    return StartAndFollow(session, name);
  }
  const bool several = options.guests.names.size() != 1;
  return ForEachGuest(
      session, options.guests, [](v1::GuestState state) { return state == v1::STOPPED || state == v1::CRASHED; },
      [&session, several](Client& client, const std::string& name) {
        return StartOne(session, client, name, several);
      });
}

}  // namespace

void AddStart(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("start", "Start guests, and wait until they run")->group(kGuestsGroup);
  auto options = std::make_shared<Options>();
  AddGuestSelection(*verb, options->guests);
  verb->add_flag("--follow", options->follow,
                 "stay until the guest ends, and end as it did; for systemd's Type=notify units");
  OnVerb(verb, session, [&session, options] { return Start(session, *options); });
}

}  // namespace umld::umlctl
