#include "umld/admin_only.h"

#include <algorithm>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umld/console_wish.h"
#include "umld/guest_runtime.h"
#include "umld/nic_wish.h"

namespace umld {
namespace {

using devices::ConsoleChannel;

constexpr uint16_t kFirstPortForAll = 1024;

}  // namespace

absl::string_view AdminOnlyArgument(absl::string_view kernel_argument) {
  if (absl::StartsWith(kernel_argument, kNotifyArgument)) {
    return "to have notifications sent to a socket of the host (mconsole=notify:)";
  }
  // vmcore opens it, at every boot.
  if (absl::StartsWith(kernel_argument, "initrd=")) return "to give a guest an initrd by its path";
  return "";
}

absl::string_view AdminOnlyChannel(const ConsoleChannel& channel) {
  if (channel.kind == ConsoleChannel::Kind::kTty) return "a terminal of the host";
  if (channel.kind == ConsoleChannel::Kind::kPort && channel.port < kFirstPortForAll) return "a port below 1024";
  return "";
}

absl::string_view AdminOnlyNic(const devices::NicSpec& spec) {
  // With its prefix the host gets a route, to whatever network it says.
  if (!spec.host_address.empty()) return "an address for the host's end of an interface";
  // The host's rules and services go by names: one that appears may be given an address, or be let through.
  if (devices::UsesTap(spec.transport) && !spec.interface.empty() && !absl::StartsWith(spec.interface, "tap")) {
    return "a tap whose name does not begin with \"tap\"";
  }
  return "";
}

absl::Status CheckAdminOnly(absl::string_view what, const Caller& caller) {
  return what.empty() ? absl::OkStatus() : NeedsAdmin(caller, what);
}

absl::Status CheckUnconfined(const GuestView& view, absl::string_view what, const Caller& caller) {
  if (!view.may_be_relaxed()) return absl::OkStatus();
  return Annotate(NeedsAdmin(caller, what), absl::StrCat("guest ", view.row.name));
}

std::vector<std::string> TakeOutAdminOnly(v1::Guest* guest) {
  std::vector<std::string> taken;
  auto is_admin_only = [&taken](absl::string_view wish, absl::string_view what) {
    if (!what.empty()) taken.push_back(absl::StrCat(wish, " (", what, ")"));
    return !what.empty();
  };
  auto* const arguments = guest->mutable_kernel_args();
  arguments->erase(
      std::remove_if(arguments->begin(), arguments->end(),
                     [&](const std::string& argument) { return is_admin_only(argument, AdminOnlyArgument(argument)); }),
      arguments->end());
  auto* const consoles = guest->mutable_consoles();
  consoles->erase(std::remove_if(consoles->begin(), consoles->end(),
                                 [&](const v1::Console& console) {
                                   const std::string text = ConsoleWish(console);
                                   const auto wanted = devices::ParseConsoleAssignment(text);
                                   // What is no console at all is refused later.
                                   return wanted.ok() && (is_admin_only(text, AdminOnlyChannel(wanted->in)) ||
                                                          is_admin_only(text, AdminOnlyChannel(wanted->out)));
                                 }),
                  consoles->end());
  for (v1::Nic& nic : *guest->mutable_nics()) {
    const auto spec = NicFromProto(nic);
    if (!spec.ok()) continue;
    devices::NicSpec left = *spec;
    while (true) {
      const absl::string_view what = AdminOnlyNic(left);
      if (!is_admin_only(devices::PrintNicSpec(left), what)) break;
      if (left.host_address.empty()) {
        left.interface.clear();
        nic.clear_interface();
      } else {
        left.host_address.clear();
        nic.clear_host_address();
      }
    }
  }
  return taken;
}

}  // namespace umld
