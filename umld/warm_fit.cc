#include "umld/warm_fit.h"

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "devices/console/console_spec.h"

namespace umld {
namespace {

// Read by the guest's init, or by guest/warm/init.c in the kernel's place.
constexpr std::array<absl::string_view, 7> kPrefixes = {
    "root=/dev/", "rootfstype=", "rootflags=", "init=", "systemd.", "fsck.", "umld."};
constexpr std::array<absl::string_view, 15> kWords = {"ro", "rw", "quiet", "single", "emergency", "rescue", "auto", "S",
                                                      "s",  "1",  "2",     "3",      "4",         "5",      "--"};

bool IsForLater(absl::string_view argument) {
  return std::find(kWords.begin(), kWords.end(), argument) != kWords.end() ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](absl::string_view prefix) { return absl::StartsWith(argument, prefix); });
}

}  // namespace

std::string ColdReason(const vmcore::v1::Launch& launch) {
  const vmcore::v1::GuestConfig& config = launch.config();
  if (launch.confinement() != vmcore::v1::CONFINEMENT_STRICT) return "it is not confined";
  if (!config.notify_listener().empty()) return "its kernel is to tell of its boot (mconsole=notify:)";
  bool has_root = std::any_of(config.disks().begin(), config.disks().end(),
                              [](const vmcore::v1::Disk& disk) { return disk.unit() == 0; });
  bool for_init = false;
  for (const std::string& argument : config.kernel_args()) {
    has_root = has_root || absl::StartsWith(argument, "root=");
    // What comes after it is the init's alone.
    for_init = for_init || argument == "--";
    const bool plain = argument.find_first_of("\"\n") == std::string::npos;
    if (!plain || (!for_init && !IsForLater(argument))) {
      return absl::StrCat("the kernel argument ", argument, " is for a kernel that boots");
    }
  }
  if (!has_root) return "it has no root disk";
  for (const vmcore::v1::ConsoleConfig& console : config.consoles()) {
    if (!devices::ParseConsoleName(console.device()).ok()) {
      return absl::StrCat(console.device(), "=", console.channels(), " is for a kernel that boots");
    }
  }
  return "";
}

}  // namespace umld
