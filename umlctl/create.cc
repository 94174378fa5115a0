#include <CLI/App.hpp>
#include <memory>

#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/confinement.h"
#include "umlctl/kernel_word.h"
#include "umlctl/labels.h"
#include "umlctl/limits.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string name;
  std::string image;
  std::string memory;
  std::string kernel;
  std::string description;
  std::string confinement;
  std::string trust;
  std::string reclaim;
  LimitWords limits;
  std::vector<std::string> disks;
  std::vector<std::string> consoles;
  std::vector<std::string> nics;
  std::vector<std::string> kernel_args;
  std::vector<std::string> labels;
};

absl::Status Create(Session& session, const Options& options) {
  v1::CreateGuestRequest request;
  request.set_request_id(NewRequestId());
  v1::Guest& guest = *request.mutable_guest();
  if (!options.name.empty()) {
    ASSIGN_OR_RETURN(*guest.mutable_name(), GuestName(options.name));
  }
  if (!options.memory.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(options.memory));
    // On the wire 0 stands for the default.
    if (bytes == 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, "mem=0: a UML kernel needs at least 32M",
                       {"INVALID_MEMORY", "", "leave --mem out for the default, or give more"});
    }
    guest.set_memory_bytes(bytes);
  }
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  ASSIGN_OR_RETURN(*guest.mutable_kernel(), KernelOf(options.kernel, folder));
  if (!options.image.empty()) {
    ASSIGN_OR_RETURN(*guest.mutable_image(), NameIn("images", options.image));
  }
  guest.set_description(options.description);
  RETURN_IF_ERROR(ApplyLabels(options.labels, guest.mutable_labels()));
  guest.set_confinement(ConfinementOf(options.confinement));
  guest.set_trust(TrustOf(options.trust));
  guest.set_memory_reclaim(ReclaimOf(options.reclaim));
  RETURN_IF_ERROR(ApplyLimits(options.limits, guest.mutable_limits()));
  for (const std::string& arg : options.kernel_args) guest.add_kernel_args(arg);
  for (const std::string& disk : options.disks) {
    ASSIGN_OR_RETURN(*request.add_disk_specs(), AbsoluteSpec(disk, folder));
  }
  for (const std::string& console : options.consoles) request.add_console_specs(console);
  for (const std::string& nic : options.nics) {
    ASSIGN_OR_RETURN(*request.add_nic_specs(), AbsoluteSpec(nic, folder));
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  Client::Warnings warnings;
  ASSIGN_OR_RETURN(const v1::Guest created, client->CreateGuest(request, &warnings));
  session.Warn(warnings);
  if (session.output.ForPrograms()) {
    PrintMessage(created, session.output.format, session.out());
  } else {
    session.Say(ShortName(created.name()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddCreate(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("create", "Define a guest, and print its name")->group(kGuestsGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->name, "the guest's name (umid); without one a random name is made");
  verb->add_option("--image", options->image, "image that the root disk is a copy-on-write of");
  verb->add_option("--mem", options->memory, "memory, as 256M");
  verb->add_option(
      "--kernel", options->kernel,
      "a kernel's name (umlctl kernel list), or a file with a slash in its name; without it the default's");
  verb->add_option("--disk", options->disks, "a disk, as ubdb=FILE or ubdb=COW,BACKING; may be repeated")
      ->allow_extra_args(false);
  verb->add_option("--con", options->consoles,
                   "a console or serial line, as con3=port:9000, ssl0=pts or con=pts; may be repeated")
      ->allow_extra_args(false);
  verb->add_option(
          "--nic", options->nics,
          "a network interface, as eth0=tuntap,TAP,MAC,ADDRESS (the host's) or vec0:transport=tap,ifname=TAP; may "
          "be repeated")
      ->allow_extra_args(false);
  verb->add_option("--arg", options->kernel_args, "a kernel argument; may be repeated")->allow_extra_args(false);
  verb->add_option("--description", options->description, "free text");
  AddLabels(*verb, options->labels);
  AddConfinement(verb, options->confinement);
  AddTrust(verb, options->trust);
  AddReclaim(verb, options->reclaim);
  AddLimits(verb, options->limits);
  OnVerb(verb, session, [&session, options] { return Create(session, *options); });
}

}  // namespace umld::umlctl
