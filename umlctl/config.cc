#include <CLI/App.hpp>
#include <memory>

#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/printable.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

absl::Status Config(Session& session, const std::string& guest, const std::string& device) {
  v1::QueryDeviceRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(guest));
  request.set_device(device);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::StatusOr<v1::Device> answer = client->QueryDevice(request);
  if (!answer.ok()) return NamingGuest(answer.status(), request.guest());
  if (session.output.ForPrograms()) {
    PrintMessage(*answer, session.output.format, session.out());
  } else {
    session.Say(PrintableLine(answer->spec()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddConfig(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("config", "Ask a guest about a device, in UML's spelling")->group(kDevicesGroup);
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  verb->add_option("NAME", words->first, "the guest")->required();
  verb->add_option("DEVICE", words->second, "as ubdb")->required();
  OnVerb(verb, session, [&session, words] { return Config(session, words->first, words->second); });
}

}  // namespace umld::umlctl
