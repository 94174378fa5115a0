#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

absl::Status Rename(Session& session, const std::string& old_name, const std::string& new_name) {
  v1::RenameGuestRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), GuestName(old_name));
  ASSIGN_OR_RETURN(*request.mutable_new_name(), GuestName(new_name));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::StatusOr<v1::Guest> guest = client->RenameGuest(request);
  if (!guest.ok()) return NamingGuest(guest.status(), request.name());
  if (session.output.ForPrograms()) {
    PrintMessage(*guest, session.output.format, session.out());
  } else if (session.output.format == Format::kName) {
    session.Say(ShortName(guest->name()));
  } else {
    session.Say(absl::StrCat(ShortName(request.name()), ": renamed to ", ShortName(guest->name())));
  }
  return absl::OkStatus();
}

}  // namespace

void AddRename(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("rename", "Give a guest another name, in any state")->group(kGuestsGroup);
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  verb->add_option("NAME", words->first, "the guest")->required();
  verb->add_option("NEW", words->second, "its new name")->required();
  OnVerb(verb, session, [&session, words] { return Rename(session, words->first, words->second); });
}

}  // namespace umld::umlctl
