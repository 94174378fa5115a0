#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  std::string device;
  bool live_only = false;
};

absl::Status Unplug(Session& session, const Options& options) {
  v1::UnplugDeviceRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(options.guest));
  request.set_device(options.device);
  request.set_live_only(options.live_only);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  if (const absl::Status status = client->UnplugDevice(request); !status.ok()) {
    return NamingGuest(status, request.guest());
  }
  if (!session.output.ForPrograms()) {
    session.Say(absl::StrCat(ShortName(request.guest()), ": unplugged ", options.device));
  }
  return absl::OkStatus();
}

}  // namespace

void AddUnplug(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("unplug", "Take a device from a guest")->group(kDevicesGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option("DEVICE", options->device, "as ubdb")->required();
  verb->add_flag("--live-only", options->live_only, "from the running kernel alone; the next boot has it again");
  OnVerb(verb, session, [&session, options] { return Unplug(session, *options); });
}

}  // namespace umld::umlctl
