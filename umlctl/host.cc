#include <CLI/App.hpp>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

const std::vector<Column<v1::HostCheck>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::HostCheck>>{
      {"NAME", [](const v1::HostCheck& check) { return check.name(); }},
      {"OK", [](const v1::HostCheck& check) { return std::string(check.ok() ? "yes" : "NO"); }},
      {"DETAIL", [](const v1::HostCheck& check) { return check.detail(); }},
      {"REMEDY", [](const v1::HostCheck& check) { return check.ok() ? std::string() : check.remedy(); }},
  };
  return *kColumns;
}

absl::Status Check(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::HostInfo host, client->GetHost());
  PrintList(host.checks(), Columns(), session.output, session.out());
  int missing = 0;
  for (const v1::HostCheck& check : host.checks()) missing += check.ok() ? 0 : 1;
  if (missing == 0) return absl::OkStatus();
  return SaidNo(absl::StrCat(missing, " of ", host.checks_size(), " things are not as guests need them"), "host",
                "see the remedies above");
}

absl::Status Info(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::HostInfo host, client->GetHost());
  if (session.output.ForPrograms()) {
    PrintMessage(host, session.output.format, session.out());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string socket, session.SocketPath());
  Details details;
  details.Add("Version", host.version());
  details.Add("Socket", socket);
  details.Add("Started", TimeText(host.start_time()));
  details.Add("State", host.state_directory());
  details.Add("Run", host.runtime_directory());
  details.Add("mconsole", host.mconsole_directory());
  details.Add("Kernel", host.default_kernel());
  details.Add("Isolation", host.isolation());
  details.Add("Guests", absl::StrCat(host.guests(), ", ", host.guests_running(), " running"));
  details.Print(session.out());
  return absl::OkStatus();
}

}  // namespace

void AddHost(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("host", "The daemon's host")->group(kHostGroup);
  noun->require_subcommand(1);
  OnVerb(noun->add_subcommand("check", "What guests need of the host, what is missing, and the remedy"), session,
         [&session] { return Check(session); });
  OnVerb(noun->add_subcommand("info", "The daemon and its folders"), session, [&session] { return Info(session); });
}

}  // namespace umld::umlctl
