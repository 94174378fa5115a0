#include "umlctl/clone.h"

#include <CLI/App.hpp>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

absl::Status Start(Session& session, Client& client, const std::string& name) {
  v1::StartGuestRequest request;
  request.set_name(name);
  request.set_request_id(NewRequestId());
  Client::Warnings warnings;
  ASSIGN_OR_RETURN(v1::Operation operation, client.StartGuest(request, &warnings));
  session.Warn(warnings);
  return WaitForOperation(session, client, std::move(operation)).status();
}

// "web1", or "web1, snapshot before".
std::string SourceText(const std::string& source) {
  const size_t between = source.find("/snapshots/");
  const std::string guest = ShortName(source.substr(0, between));
  return between == std::string::npos ? guest : absl::StrCat(guest, ", snapshot ", ShortName(source));
}

}  // namespace

void AddCloneOptions(CLI::App& verb, CloneWords& words, CLI::Option* needs) {
  for (CLI::Option* option :
       {verb.add_flag("--same-identity", words.same_identity,
                      "leave machine-id, ssh host keys and host name inside the new guest as they are"),
        verb.add_flag("--start", words.start, "start the new guest")}) {
    if (needs != nullptr) option->needs(needs);
  }
}

absl::Status CloneGuest(Session& session, const CloneWords& words) {
  v1::CloneGuestRequest request;
  request.set_source(words.source);
  ASSIGN_OR_RETURN(const std::string full, GuestName(words.name));
  request.set_guest_id(ShortName(full));
  request.set_same_identity(words.same_identity);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->CloneGuest(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  v1::GetCloneReportRequest get;
  get.set_operation(operation.name());
  ASSIGN_OR_RETURN(v1::CloneReport report, client->GetCloneReport(get));
  absl::Status started = words.start ? Start(session, *client, report.guest().name()) : absl::OkStatus();
  if (words.start && started.ok()) {
    ASSIGN_OR_RETURN(*report.mutable_guest(), client->GetGuest(report.guest().name()));
  }
  const std::string name = ShortName(report.guest().name());
  if (session.output.ForPrograms()) {
    PrintMessage(report, session.output.format, session.out());
  } else if (session.output.format == Format::kName) {
    session.Say(name);
  } else {
    session.Say(absl::StrCat(name, ": a clone of ", SourceText(report.source()),
                             words.start && started.ok() ? ", started" : ""));
    for (const std::string& note : report.notes()) session.Note(absl::StrCat(name, ": ", note));
  }
  return started;
}

void AddClone(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("clone", "Make a new guest with the disks and the configuration of another")
                       ->group(kGuestsGroup);
  struct Typed {
    std::string source;
    CloneWords words;
  };
  const auto typed = std::make_shared<Typed>();
  verb->add_option("GUEST", typed->source, "a guest, which may be running")->required();
  verb->add_option("NEW", typed->words.name, "the new guest's name")->required();
  AddCloneOptions(*verb, typed->words, nullptr);
  OnVerb(verb, session, [=, &session]() -> absl::Status {
    CloneWords words = typed->words;
    ASSIGN_OR_RETURN(words.source, GuestName(typed->source));
    return CloneGuest(session, words);
  });
}

}  // namespace umld::umlctl
