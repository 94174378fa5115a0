#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  std::string spec;
  bool live_only = false;
};

absl::Status Plug(Session& session, const Options& options) {
  v1::PlugDeviceRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(options.guest));
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  ASSIGN_OR_RETURN(*request.mutable_spec(), AbsoluteSpec(options.spec, folder));
  request.set_live_only(options.live_only);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  Client::Warnings warnings;
  const absl::StatusOr<v1::Device> device = client->PlugDevice(request, &warnings);
  if (!device.ok()) return NamingGuest(device.status(), request.guest());
  session.Warn(warnings);
  if (session.output.ForPrograms()) {
    PrintMessage(*device, session.output.format, session.out());
  } else if (session.output.format == Format::kName) {
    session.Say(ShortName(device->name()));
  } else {
    session.Say(absl::StrCat(
        ShortName(request.guest()), ": plugged ", ShortName(device->name()),
        device->nic().name().empty() || !absl::StartsWith(device->spec(), "transport=") ? "=" : ":", device->spec()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddPlug(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("plug", "Add a device to a guest, running or not")->group(kDevicesGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option(
          "DEVICE=VALUE", options->spec,
          "as ubdb=FILE, ubdb=COW,BACKING, con3=port:9000, eth0=tuntap,tap0,,192.168.0.254 or mem=-64M; paths are "
          "seen from here")
      ->required();
  verb->add_flag("--live-only", options->live_only, "into the running kernel alone, not for its next boot");
  OnVerb(verb, session, [&session, options] { return Plug(session, *options); });
}

}  // namespace umld::umlctl
