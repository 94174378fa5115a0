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

// Of a virtio_net_hdr, whose header is no C++.
constexpr int kHeaderBytes = 10;

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

// What OpenTap has opened, whatever it is called by now. nullptr: it is not in this network namespace any more.
Link FindTap(nl_sock* socket, const HostEnd& tap) {
  Link link = FindLink(socket, tap.index);
  if (link == nullptr) return nullptr;
  // An interface that is moved here from another namespace brings its index along, if that is free.
  const char* kind = rtnl_link_get_type(link.get());
  return kind != nullptr && strcmp(kind, "tun") == 0 ? std::move(link) : nullptr;
}

// Its owner needs no privilege for this, but nobody else may be attached.
absl::Status LetGo(const std::string& name) {
  ASSIGN_OR_RETURN(UniqueFd tun, OpenTun());
  RETURN_IF_ERROR(CheckTap(tun, name));
  if (ioctl(tun.get(), TUNSETPERSIST, 0UL) != 0) return ErrnoError(errno, absl::StrCat("remove ", name));
  return absl::OkStatus();  // it goes with the descriptor
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
  const Link link = FindTap(socket.get(), tap);
  if (link == nullptr) return absl::OkStatus();
  const std::string name = rtnl_link_get_name(link.get());
  if (!tap.made) {
    return tap.address.empty() ? absl::OkStatus() : RemoveAddress(socket.get(), name, tap.index, tap.address);
  }
  absl::Status deleted = DeleteLink(socket.get(), tap.index);
  return absl::IsPermissionDenied(deleted) ? LetGo(name) : deleted;
}

int AttachToTap(const HostEnd& tap, unsigned flags, UniqueFd* attached) {
  if ((flags & IFF_TAP) == 0 || (flags & ~(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != 0) return EINVAL;
  absl::StatusOr<Socket> socket = OpenNetlink();
  absl::StatusOr<UniqueFd> tun = OpenTun();
  if (!socket.ok() || !tun.ok()) return ENODEV;
  const Link link = FindTap(socket->get(), tap);
  if (link == nullptr) return ENODEV;
  const std::string name = rtnl_link_get_name(link.get());
  if (const int error = AttachTap(*tun, name, flags); error != 0) return error;
  // Should it have been removed just now, that was another one, which goes with the descriptor.
  if (FindIndex(socket->get(), name) != tap.index) return ENODEV;
  // As if it were new: what the one before has set stays with the tap.
  int header = kHeaderBytes;
  if (ioctl(tun->get(), TUNSETVNETHDRSZ, &header) != 0 || ioctl(tun->get(), TUNSETOFFLOAD, 0UL) != 0) return errno;
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
