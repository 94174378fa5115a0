#include <CLI/App.hpp>
#include <memory>

#include "base/status.h"
#include "google/protobuf/struct.pb.h"
#include "umlctl/each_guest.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  GuestSelection guests;
  bool force = false;
};

using Act = absl::StatusOr<GuestResult> (*)(Session&, Client&, const std::string&, const Options&);

bool IsRunning(v1::GuestState state) { return state == v1::RUNNING; }
bool IsPaused(v1::GuestState state) { return state == v1::PAUSED; }
bool HasKernel(v1::GuestState state) { return state != v1::STOPPED && state != v1::CRASHED; }
bool Any(v1::GuestState) { return true; }

absl::StatusOr<GuestResult> Pause(Session&, Client& client, const std::string& name, const Options&) {
  v1::PauseGuestRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(v1::Guest guest, client.PauseGuest(request));
  return GuestResult{"paused", std::make_shared<v1::Guest>(std::move(guest))};
}

absl::StatusOr<GuestResult> Resume(Session&, Client& client, const std::string& name, const Options&) {
  v1::ResumeGuestRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(v1::Guest guest, client.ResumeGuest(request));
  return GuestResult{"resumed", std::make_shared<v1::Guest>(std::move(guest))};
}

absl::StatusOr<GuestResult> Kill(Session& session, Client& client, const std::string& name, const Options&) {
  v1::KillGuestRequest request;
  request.set_name(name);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(v1::Operation operation, client.KillGuest(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, client, std::move(operation)));
  return GuestResult{"killed", std::make_shared<v1::Operation>(std::move(operation))};
}

absl::StatusOr<GuestResult> Reset(Session& session, Client& client, const std::string& name, const Options& options) {
  v1::ResetGuestRequest request;
  request.set_name(name);
  request.set_force(options.force);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(v1::Operation operation, client.ResetGuest(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, client, std::move(operation)));
  return GuestResult{"reset", std::make_shared<v1::Operation>(std::move(operation))};
}

absl::StatusOr<GuestResult> Delete(Session&, Client& client, const std::string& name, const Options& options) {
  v1::DeleteGuestRequest request;
  request.set_name(name);
  request.set_force(options.force);
  RETURN_IF_ERROR(client.DeleteGuest(request));
  // The API answers with nothing; a program wants to see which.
  auto gone = std::make_shared<google::protobuf::Struct>();
  (*gone->mutable_fields())["name"].set_string_value(name);
  (*gone->mutable_fields())["deleted"].set_bool_value(true);
  return GuestResult{"deleted", std::move(gone)};
}

struct Verb {
  const char* word;
  const char* help;
  bool (*concerns)(v1::GuestState);  // with --all
  Act act;
  const char* force_help;  // nullptr: no --force
};

constexpr Verb kVerbs[] = {
    {"pause", "Freeze guests", IsRunning, Pause, nullptr},
    {"resume", "Let paused guests go on", IsPaused, Resume, nullptr},
    {"kill", "End guests at once, losing what they had not written", HasKernel, Kill, nullptr},
    {"reset", "Make the root disk of guests their image again; one that runs is started anew", Any, Reset,
     "also when it writes to other disks, for which this is a power cut"},
    {"delete", "Remove guests, their logs, and the disks umld made for them", Any, Delete,
     "kill a guest that runs, then delete it"},
};

}  // namespace

void AddLifecycle(CLI::App& app, Session& session) {
  for (const Verb& entry : kVerbs) {
    CLI::App* verb = app.add_subcommand(entry.word, entry.help)->group(kGuestsGroup);
    auto options = std::make_shared<Options>();
    AddGuestSelection(*verb, options->guests);
    if (entry.force_help != nullptr) verb->add_flag("--force", options->force, entry.force_help);
    OnVerb(verb, session, [&session, options, &entry] {
      return ForEachGuest(session, options->guests, entry.concerns, [&](Client& client, const std::string& name) {
        return entry.act(session, client, name, *options);
      });
    });
  }
}

}  // namespace umld::umlctl
