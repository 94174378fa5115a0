#include "devices/nic/tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::devices {
namespace {

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct PutLink {
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
};
struct PutAddress {
  void operator()(rtnl_addr* address) const { rtnl_addr_put(address); }
};
struct PutPlainAddress {
  void operator()(nl_addr* address) const { nl_addr_put(address); }
};
struct FreeCache {
  void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;
using Link = std::unique_ptr<rtnl_link, PutLink>;
using Address = std::unique_ptr<rtnl_addr, PutAddress>;
using PlainAddress = std::unique_ptr<nl_addr, PutPlainAddress>;
using Cache = std::unique_ptr<nl_cache, FreeCache>;

constexpr int kIpv4 = 2;  // AF_INET

std::string UserHint(const std::string& name) {
  return absl::StrCat("as root: ip tuntap add dev ", name, " mode tap user ", getuid(), "; ip link set ", name,
                      " up; with an address if it is to have one");
}

absl::Status Denied(const std::string& name, absl::string_view what) {
  return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("this user may not ", what),
                   {"TAP_DENIED", name, UserHint(name)});
}

absl::Status NetlinkError(int error, const std::string& name, absl::string_view what) {
  if (error == -NLE_PERM) return Denied(name, what);
  return MakeError(absl::StatusCode::kInternal, absl::StrCat("cannot ", what, ": ", nl_geterror(error)),
                   {"NETLINK_FAILED", name, "see `ip -d addr show`"});
}

absl::StatusOr<Socket> OpenNetlink() {
  Socket socket(nl_socket_alloc());
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory for a netlink socket");
  if (int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0) {
    return absl::InternalError(absl::StrCat("netlink: ", nl_geterror(error)));
  }
  return socket;
}

absl::StatusOr<UniqueFd> OpenTun() {
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (fd.ok()) return fd;
  const int error = errno;
  if (error == EACCES || error == EPERM) {
    return MakeError(absl::StatusCode::kPermissionDenied, "/dev/net/tun is closed to this user",
                     {"NO_TUN_DEVICE", "/dev/net/tun", "as root: chmod 0666 /dev/net/tun (the usual mode)"});
  }
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("this host offers no taps: /dev/net/tun: ", strerror(error)),
                   {"NO_TUN_DEVICE", "/dev/net/tun", "as root: modprobe tun"});
}

// 0 or errno.
int Attach(const UniqueFd& tun, const std::string& name, unsigned more_flags) {
  ifreq request = {};
  strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | more_flags);
  return ioctl(tun.get(), TUNSETIFF, &request) == 0 ? 0 : errno;
}

// The tap `name` that is there already: whether a kernel could attach to it.
absl::Status CheckTap(const UniqueFd& tun, const std::string& name) {
  switch (const int error = Attach(tun, name, 0)) {
    case 0:
      return absl::OkStatus();
    case EBUSY:
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("another program is attached to the tap ", name),
                       {"TAP_BUSY", name, "end that program, or use another tap"});
    case EPERM:
      return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("the tap ", name, " is another user's"),
                       {"TAP_DENIED", name, UserHint(name)});
    default:
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("the host's interface ", name, " is no tap (with one queue): ", strerror(error)),
                       {"NOT_A_TAP", name, "use the name of a tap, or one that is free"});
  }
}

absl::Status BringUp(nl_sock* socket, const std::string& name) {
  rtnl_link* found = nullptr;
  if (int error = rtnl_link_get_kernel(socket, 0, name.c_str(), &found); error < 0) {
    return NetlinkError(error, name, absl::StrCat("look at ", name));
  }
  Link link(found);
  if ((rtnl_link_get_flags(link.get()) & IFF_UP) != 0) return absl::OkStatus();
  Link change(rtnl_link_alloc());
  rtnl_link_set_flags(change.get(), IFF_UP);
  const int error = rtnl_link_change(socket, link.get(), change.get(), 0);
  return error < 0 ? NetlinkError(error, name, absl::StrCat("bring ", name, " up")) : absl::OkStatus();
}

absl::StatusOr<PlainAddress> ParseAddress(const std::string& text) {
  nl_addr* parsed = nullptr;
  if (nl_addr_parse(text.c_str(), kIpv4, &parsed) < 0) {
    return absl::InvalidArgumentError(absl::StrCat(text, " is no address"));
  }
  return PlainAddress(parsed);
}

// What an interface is given and has taken from it.
absl::StatusOr<Address> AddressOf(int index, const std::string& text) {
  ASSIGN_OR_RETURN(PlainAddress local, ParseAddress(text));
  Address address(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(address.get(), index);
  rtnl_addr_set_local(address.get(), local.get());
  return address;
}

std::string NameOf(nl_sock* socket, int index) {
  rtnl_link* found = nullptr;
  if (rtnl_link_get_kernel(socket, index, nullptr, &found) < 0) return absl::StrCat("interface ", index);
  Link link(found);
  return rtnl_link_get_name(link.get());
}

// Whether `text` is on the interface already. kFailedPrecondition: it is on another one.
absl::StatusOr<bool> HasAddress(nl_sock* socket, int index, const std::string& text) {
  ASSIGN_OR_RETURN(PlainAddress wanted, ParseAddress(text));
  nl_cache* filled = nullptr;
  if (int error = rtnl_addr_alloc_cache(socket, &filled); error < 0) {
    return absl::InternalError(absl::StrCat("netlink: ", nl_geterror(error)));
  }
  Cache cache(filled);
  for (nl_object* object = nl_cache_get_first(cache.get()); object != nullptr; object = nl_cache_get_next(object)) {
    auto* address = reinterpret_cast<rtnl_addr*>(object);
    nl_addr* local = rtnl_addr_get_local(address);
    if (local == nullptr || nl_addr_get_family(local) != kIpv4) continue;
    if (nl_addr_get_len(local) != nl_addr_get_len(wanted.get()) ||
        memcmp(nl_addr_get_binary_addr(local), nl_addr_get_binary_addr(wanted.get()), nl_addr_get_len(local)) != 0) {
      continue;
    }
    if (rtnl_addr_get_ifindex(address) == index) return true;
    const std::string other = NameOf(socket, rtnl_addr_get_ifindex(address));
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the host has ", text.substr(0, text.find('/')), " on ", other, " already"),
                     {"ADDRESS_IN_USE", other, "choose another address, in a network of its own"});
  }
  return false;
}

absl::Status Finish(nl_sock* socket, const HostTap& tap, bool add_address) {
  RETURN_IF_ERROR(BringUp(socket, tap.name));
  if (!add_address) return absl::OkStatus();
  ASSIGN_OR_RETURN(Address address, AddressOf(tap.index, tap.address));
  const int error = rtnl_addr_add(socket, address.get(), 0);
  if (error >= 0) return absl::OkStatus();
  return NetlinkError(error, tap.name, absl::StrCat("give ", tap.name, " the address ", tap.address));
}

absl::StatusOr<HostTap> MakeTap(nl_sock* socket, const UniqueFd& tun, HostTap tap, const RecordTap& record) {
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

absl::StatusOr<HostTap> TakeTap(nl_sock* socket, HostTap tap, const RecordTap& record) {
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
  rtnl_link* found = nullptr;
  if (!socket.ok() || rtnl_link_get_kernel(socket->get(), 0, name.c_str(), &found) < 0) return 0;
  Link link(found);
  return rtnl_link_get_ifindex(link.get());
}

absl::StatusOr<HostTap> OpenTap(const std::string& name, const std::string& address, const RecordTap& record) {
  ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
  ASSIGN_OR_RETURN(UniqueFd tun, OpenTun());
  HostTap tap;
  tap.name = name;
  tap.address = address;
  tap.index = InterfaceIndex(name);
  if (tap.index != 0) {
    RETURN_IF_ERROR(CheckTap(tun, name));
    return TakeTap(socket.get(), tap, record);
  }
  switch (const int error = Attach(tun, name, IFF_TUN_EXCL)) {
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

absl::Status CloseTap(const HostTap& tap) {
  if (tap.index == 0 || InterfaceIndex(tap.name) != tap.index) return absl::OkStatus();
  ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
  if (tap.made) {
    ASSIGN_OR_RETURN(UniqueFd tun, OpenTun());
    RETURN_IF_ERROR(CheckTap(tun, tap.name));
    if (ioctl(tun.get(), TUNSETPERSIST, 0UL) != 0) return ErrnoError(errno, absl::StrCat("remove ", tap.name));
    return absl::OkStatus();  // it goes with the descriptor
  }
  if (tap.address.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Address address, AddressOf(tap.index, tap.address));
  const int error = rtnl_addr_delete(socket.get(), address.get(), 0);
  if (error >= 0 || error == -NLE_NOADDR) return absl::OkStatus();
  return NetlinkError(error, tap.name, absl::StrCat("take ", tap.address, " from ", tap.name));
}

std::string PrintTapRecord(const std::vector<HostTap>& taps) {
  std::string text = absl::StrCat(ReadBootId(), "\n");
  for (const HostTap& tap : taps) {
    absl::StrAppend(&text, tap.name, " ", tap.index, " ", tap.made ? 1 : 0, " ", tap.address, "\n");
  }
  return text;
}

std::vector<HostTap> ParseTapRecord(absl::string_view text) {
  std::vector<HostTap> taps;
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines[0].empty() || lines[0] != ReadBootId()) return taps;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ');
    HostTap tap;
    if (words.size() != 4 || !absl::SimpleAtoi(words[1], &tap.index)) continue;
    tap.name = std::string(words[0]);
    tap.made = words[2] == "1";
    tap.address = std::string(words[3]);
    taps.push_back(std::move(tap));
  }
  return taps;
}

}  // namespace umld::devices
