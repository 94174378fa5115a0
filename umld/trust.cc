#include "umld/trust.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "devices/disk/disk_spec.h"

namespace umld {
namespace {

absl::Status NeedsTrust(const state::GuestRow& guest, absl::string_view why, absl::string_view way_out) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", guest.name, " is untrusted, and ", why),
                   {"TRUST_REQUIRED", absl::StrCat("guests/", guest.name), std::string(way_out)});
}

absl::Status NoShare(const state::GuestRow& guest, absl::string_view argument, absl::string_view why,
                     absl::string_view way_out) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", guest.name, ": kernel argument \"", argument, "\": ", why),
                   {"HOSTFS_SHARE", absl::StrCat("guests/", guest.name), std::string(way_out)});
}

absl::Status CheckArgument(const state::GuestRow& guest, absl::string_view argument) {
  absl::string_view value = argument;
  if (absl::ConsumePrefix(&value, "seccomp=") && value != "off" && !guest.trusted) {
    return NeedsTrust(guest,
                      absl::StrCat("kernel argument \"", argument,
                                   "\" lets every process in it write to all of its memory: by UML's own words it is "
                                   "insecure, for a trusted userspace alone"),
                      "leave it out (UML then uses ptrace), or say that you trust who works in it: --trust trusted");
  }
  value = argument;
  if (absl::ConsumePrefix(&value, "hostfs=")) {
    if (guest.relaxed) {
      return NoShare(guest, argument,
                     "it would share the whole host: in a guest that is not confined, `mount -t hostfs none /mnt -o "
                     "/..` leaves any folder that hostfs= names",
                     "leave it out; a trusted relaxed guest can mount any folder of the host as it is");
    }
    return NoShare(guest, argument, "its hostfs shows the jail, and that folder is not in it",
                   "give it a disk with the files (mke2fs -d FOLDER FILE 1G)");
  }
  if (argument == "rootfstype=hostfs" && !guest.relaxed) {
    return NoShare(guest, argument, "its hostfs shows the jail, where there is no system to start",
                   "start it from a disk, or trust it with the host: --confinement relaxed --trust trusted");
  }
  return absl::OkStatus();
}

absl::Status OthersFile(const state::GuestRow& guest, const std::string& path, uid_t uid, absl::string_view way_out) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", guest.name, " cannot be relaxed: ", path, " was named by uid ", uid,
                                ", and would be opened by umld's user"),
                   {"OTHERS_FILE", path, std::string(way_out)});
}

// It opens its files itself, as umld's user, whatever their names lead to by then.
absl::Status CheckOwnFiles(const state::GuestRow& guest) {
  if (guest.kernel_opener.has_value()) {
    return OthersFile(guest, guest.kernel, guest.kernel_opener->uid,
                      absl::StrCat("name it yourself: umlctl set ", guest.name, " --kernel ", guest.kernel));
  }
  for (const state::DiskRow& disk : guest.disks) {
    if (!disk.opener.has_value()) continue;
    const std::string device = devices::DiskName(disk.unit);
    return OthersFile(guest, disk.path, disk.opener->uid,
                      absl::StrCat("`umlctl unplug ", guest.name, " ", device, "`, and plug it yourself"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTrust(const state::GuestRow& guest) {
  if (guest.relaxed && !guest.trusted) {
    return NeedsTrust(guest, "cannot be relaxed: who has root in it could reach all that umld's own user can",
                      "leave it strict, or say that you trust who has root in it: --trust trusted");
  }
  if (guest.relaxed) RETURN_IF_ERROR(CheckOwnFiles(guest));
  for (const std::string& argument : guest.kernel_args) RETURN_IF_ERROR(CheckArgument(guest, argument));
  return absl::OkStatus();
}

}  // namespace umld
