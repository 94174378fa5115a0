#include <CLI/App.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/confinement.h"
#include "umlctl/each_guest.h"
#include "umlctl/kernel_word.h"
#include "umlctl/labels.h"
#include "umlctl/limits.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  std::optional<std::string> memory;
  std::optional<std::string> kernel;
  std::optional<std::string> description;
  std::string confinement;
  std::string trust;
  std::string reclaim;
  LimitWords limits;
  std::vector<std::string> kernel_args;
  std::vector<std::string> labels;
  bool no_args = false;
};

absl::StatusOr<v1::UpdateGuestRequest> Request(const Options& options) {
  v1::UpdateGuestRequest request;
  v1::Guest& guest = *request.mutable_guest();
  google::protobuf::FieldMask& mask = *request.mutable_update_mask();
  ASSIGN_OR_RETURN(*guest.mutable_name(), GuestName(options.guest));
  if (options.memory.has_value()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(*options.memory));
    guest.set_memory_bytes(bytes);
    mask.add_paths("memory_bytes");
  }
  if (options.kernel.has_value()) {
    ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
    ASSIGN_OR_RETURN(*guest.mutable_kernel(), KernelOf(*options.kernel, folder));
    mask.add_paths("kernel");
  }
  if (options.description.has_value()) {
    guest.set_description(*options.description);
    mask.add_paths("description");
  }
  if (!options.confinement.empty()) {
    guest.set_confinement(ConfinementOf(options.confinement));
    mask.add_paths("confinement");
  }
  if (!options.trust.empty()) {
    guest.set_trust(TrustOf(options.trust));
    mask.add_paths("trust");
  }
  if (!options.reclaim.empty()) {
    guest.set_memory_reclaim(ReclaimOf(options.reclaim));
    mask.add_paths("memory_reclaim");
  }
  if (!options.kernel_args.empty() || options.no_args) {
    for (const std::string& arg : options.kernel_args) guest.add_kernel_args(arg);
    mask.add_paths("kernel_args");
  }
  if (options.limits.given()) mask.add_paths("limits");
  if (!options.labels.empty()) mask.add_paths("labels");
  if (mask.paths().empty()) return UsageError("nothing to set was given", "umlctl set --help");
  request.set_request_id(NewRequestId());
  return request;
}

absl::Status Set(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(v1::UpdateGuestRequest request, Request(options));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  if (options.limits.given() || !options.labels.empty()) {
    // These fields are all limits and all labels; those that were not named stay.
    ASSIGN_OR_RETURN(const v1::Guest now, client->GetGuest(request.guest().name()));
    v1::Guest& guest = *request.mutable_guest();
    *guest.mutable_limits() = now.limits();
    *guest.mutable_labels() = now.labels();
    // Nobody's change in between is lost.
    guest.set_etag(now.etag());
    RETURN_IF_ERROR(ApplyLimits(options.limits, guest.mutable_limits()));
    RETURN_IF_ERROR(ApplyLabels(options.labels, guest.mutable_labels()));
  }
  const absl::StatusOr<v1::Guest> guest = client->UpdateGuest(request);
  if (!guest.ok()) return NamingGuest(guest.status(), request.guest().name());
  const std::string umid = ShortName(guest->name());
  if (session.output.ForPrograms()) {
    PrintMessage(*guest, session.output.format, session.out());
  } else {
    session.Say(session.output.format == Format::kName ? umid : absl::StrCat(umid, ": set"));
  }
  const auto holds_at_once = [](const std::string& path) {
    return path == "description" || path == "limits" || path == "labels" || path == "memory_reclaim";
  };
  const auto& paths = request.update_mask().paths();
  const bool at_once = std::all_of(paths.begin(), paths.end(), holds_at_once);
  if (guest->state() != v1::STOPPED && guest->state() != v1::CRASHED && !at_once) {
    session.Note(absl::StrCat("note: ", umid, " is ", StateText(guest->state()), "; this holds from the next boot"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddSet(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("set", "Change a guest's configuration")->group(kGuestsGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option("--mem", options->memory, "memory, as 256M");
  verb->add_option("--kernel", options->kernel, "a kernel's name, a file with a slash in its name, or default");
  verb->add_option("--description", options->description, "free text");
  AddLabels(*verb, options->labels);
  AddConfinement(verb, options->confinement);
  AddTrust(verb, options->trust);
  AddReclaim(verb, options->reclaim);
  AddLimits(verb, options->limits);
  CLI::Option* args =
      verb->add_option("--arg", options->kernel_args, "a kernel argument; may be repeated; replaces all there were")
          ->allow_extra_args(false);
  verb->add_flag("--no-args", options->no_args, "no kernel arguments of its own")->excludes(args);
  OnVerb(verb, session, [&session, options] { return Set(session, *options); });
}

}  // namespace umld::umlctl
