#include <CLI/App.hpp>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "google/protobuf/struct.pb.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// One number for the whole project; the daemon has the same.
constexpr char kVersion[] = "0.1.0";

absl::Status Version(Session& session) {
  if (!session.output.ForPrograms()) session.Say(absl::StrCat("umlctl ", kVersion));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::HostInfo host, client->GetHost());
  if (!session.output.ForPrograms()) {
    session.Say(absl::StrCat("umld   ", host.version()));
    return absl::OkStatus();
  }
  google::protobuf::Struct versions;
  (*versions.mutable_fields())["umlctl"].set_string_value(kVersion);
  (*versions.mutable_fields())["umld"].set_string_value(host.version());
  PrintMessage(versions, session.output.format, session.out());
  return absl::OkStatus();
}

}  // namespace

void AddVersion(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("version", "The versions of this client and of the daemon")->group(kHostGroup);
  OnVerb(verb, session, [&session] { return Version(session); });
}

}  // namespace umld::umlctl
