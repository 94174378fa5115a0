#include "devices/nic/tap.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/nic/netlink.h"

namespace umld::devices {
namespace {

// The tap `name` that is there already: whether a kernel could attach to it.
absl::Status CheckTap(const UniqueFd& tun, const std::string& name) {
  switch (const int error = AttachTap(tun, name, 0)) {
    case 0:
      return absl::OkStatus();
    case EBUSY:
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("another program is attached to the tap ", name),
                       {"TAP_BUSY", name, "end that program, or use another tap"});
    case EPERM:
      return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("the tap ", name, " is another user's"),
                       {"TAP_DENIED", name, TapHint(name)});
    default:
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("the host's interface ", name, " is no tap (with one queue): ", strerror(error)),
                       {"NOT_A_TAP", name, "use the name of a tap, or one that is free"});
  }
}

absl::Status NameTaken(const std::string& name) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("the host has an interface ", name, " already, and a confined guest gets one that is made for it"),
      {"NAME_TAKEN", name,
       absl::StrCat("use a name that is free; or `ip link del ", name,
                    "` first; or create the guest with --confinement relaxed --trust trusted, which opens taps of the "
                    "host")});
}

absl::Status Finish(nl_sock* socket, const HostEnd& tap, bool add_address) {
  RETURN_IF_ERROR(BringUp(socket, tap.name));
  return add_address ? AddAddress(socket, tap.name, tap.index, tap.address) : absl::OkStatus();
}

absl::StatusOr<HostEnd> MakeTap(nl_sock* socket, const UniqueFd& tun, HostEnd tap, const RecordTap& record) {
  tap.made = true;
  tap.index = InterfaceIndex(tap.name);
  if (!tap.address.empty()) RETURN_IF_ERROR(HasAddress(socket, tap.index, tap.address).status());
  if (ioctl(tun.get(), TUNSETOWNER, static_cast<unsigned long>(geteuid())) != 0) {
    return ErrnoError(errno, absl::StrCat("own ", tap.name));
  }
  RETURN_IF_ERROR(Finish(socket, tap, !tap.address.empty()));
  RETURN_IF_ERROR(record(tap));
  // Until here it would have gone with the descriptor.
  if (ioctl(tun.get(), TUNSETPERSIST, 1UL) != 0) return ErrnoError(errno, absl::StrCat("keep ", tap.name));
  return tap;
}

absl::StatusOr<HostEnd> TakeTap(nl_sock* socket, HostEnd tap, const RecordTap& record) {
  if (!tap.address.empty()) {
    ASSIGN_OR_RETURN(const bool has_it, HasAddress(socket, tap.index, tap.address));
    if (has_it) tap.address.clear();
  }
  RETURN_IF_ERROR(record(tap));
  absl::Status finished = Finish(socket, tap, !tap.address.empty());
  if (!finished.ok()) return finished;
  return tap;
}

}  // namespace

int InterfaceIndex(const std::string& name) {
  absl::StatusOr<Socket> socket = OpenNetlink();
  return socket.ok() ? FindIndex(socket->get(), name) : 0;
}

absl::StatusOr<HostEnd> OpenTap(const std::string& name, const std::string& address, ExistingTap existing,
                                const RecordTap& record) {
  ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
  ASSIGN_OR_RETURN(UniqueFd tun, OpenTun());
  HostEnd tap;
  tap.name = name;
  tap.address = address;
  tap.index = InterfaceIndex(name);
  if (tap.index != 0) {
    if (existing == ExistingTap::kRefused) return NameTaken(name);
    RETURN_IF_ERROR(CheckTap(tun, name));
    return TakeTap(socket.get(), tap, record);
  }
  switch (const int error = AttachTap(tun, name, IFF_TUN_EXCL)) {
    case 0:
      return MakeTap(socket.get(), tun, tap, record);
    case EPERM:
      return Denied(name, absl::StrCat("make the tap ", name));
    case EBUSY:
      return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(name, " has just been made by another"),
                       {"TAP_BUSY", name, "try again, or use another tap"});
    default:
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("cannot make the tap ", name, ": ", strerror(error)),
                       {"TAP_FAILED", name, "use another name"});
  }
}

absl::Status CloseTap(const HostEnd& tap) {
  ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
  const Link link = FindLink(socket.get(), tap.name);
  if (link == nullptr || rtnl_link_get_ifindex(link.get()) != tap.index) return absl::OkStatus();
  if (tap.made) return DeleteLink(socket.get(), tap.index);
  return tap.address.empty() ? absl::OkStatus() : RemoveAddress(socket.get(), tap.name, tap.index, tap.address);
}

int AttachToTap(const HostEnd& tap, unsigned flags, UniqueFd* attached) {
  if ((flags & IFF_TAP) == 0 || (flags & ~(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != 0) return EINVAL;
  absl::StatusOr<UniqueFd> tun = OpenTun();
  if (!tun.ok()) return ENODEV;
  // Looked at afterwards: of a tap that has been removed it makes another, which goes with the descriptor.
  if (const int error = AttachTap(*tun, tap.name, flags); error != 0) return error;
  if (InterfaceIndex(tap.name) != tap.index) return ENODEV;
  *attached = *std::move(tun);
  return 0;
}

std::string PrintTapRecord(const std::vector<HostEnd>& taps) {
  std::string text = absl::StrCat(ReadBootId(), "\n");
  for (const HostEnd& tap : taps) {
    absl::StrAppend(&text, tap.name, " ", tap.index, " ", tap.made ? 1 : 0, " ", tap.address, "\n");
  }
  return text;
}

std::vector<HostEnd> ParseTapRecord(absl::string_view text) {
  std::vector<HostEnd> taps;
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines[0].empty() || lines[0] != ReadBootId()) return taps;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ');
    HostEnd tap;
    if (words.size() != 4 || !absl::SimpleAtoi(words[1], &tap.index)) continue;
    tap.name = std::string(words[0]);
    tap.made = words[2] == "1";
    tap.address = std::string(words[3]);
    taps.push_back(std::move(tap));
  }
  return taps;
}

}  // namespace umld::devices
