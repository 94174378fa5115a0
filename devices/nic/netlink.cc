#include "devices/nic/netlink.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netlink/errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

struct PutAddress {
  void operator()(rtnl_addr* address) const { rtnl_addr_put(address); }
};
struct PutPlainAddress {
  void operator()(nl_addr* address) const { nl_addr_put(address); }
};
struct FreeCache {
  void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};
using Address = std::unique_ptr<rtnl_addr, PutAddress>;
using PlainAddress = std::unique_ptr<nl_addr, PutPlainAddress>;
using Cache = std::unique_ptr<nl_cache, FreeCache>;

constexpr int kIpv4 = 2;  // AF_INET

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
  const Link link = FindLink(socket, index);
  return link == nullptr ? absl::StrCat("interface ", index) : rtnl_link_get_name(link.get());
}

}  // namespace

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

int AttachTap(const UniqueFd& tun, const std::string& name, unsigned more_flags) {
  ifreq request = {};
  strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | more_flags);
  return ioctl(tun.get(), TUNSETIFF, &request) == 0 ? 0 : errno;
}

Link FindLink(nl_sock* socket, const std::string& name) {
  rtnl_link* found = nullptr;
  if (rtnl_link_get_kernel(socket, 0, name.c_str(), &found) < 0) return nullptr;
  return Link(found);
}

Link FindLink(nl_sock* socket, int index) {
  rtnl_link* found = nullptr;
  if (rtnl_link_get_kernel(socket, index, nullptr, &found) < 0) return nullptr;
  return Link(found);
}

int FindIndex(nl_sock* socket, const std::string& name) {
  const Link link = FindLink(socket, name);
  return link == nullptr ? 0 : rtnl_link_get_ifindex(link.get());
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

absl::Status DeleteLink(nl_sock* socket, int index) {
  Link link(rtnl_link_alloc());
  rtnl_link_set_ifindex(link.get(), index);
  const int error = rtnl_link_delete(socket, link.get());
  if (error >= 0 || error == -NLE_NODEV || error == -NLE_OBJ_NOTFOUND) return absl::OkStatus();
  return NetlinkError(error, absl::StrCat("interface ", index), "remove it");
}

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

absl::Status AddAddress(nl_sock* socket, const std::string& name, int index, const std::string& text) {
  ASSIGN_OR_RETURN(Address address, AddressOf(index, text));
  const int error = rtnl_addr_add(socket, address.get(), 0);
  return error >= 0 ? absl::OkStatus() : NetlinkError(error, name, absl::StrCat("give ", name, " the address ", text));
}

absl::Status RemoveAddress(nl_sock* socket, const std::string& name, int index, const std::string& text) {
  ASSIGN_OR_RETURN(Address address, AddressOf(index, text));
  const int error = rtnl_addr_delete(socket, address.get(), 0);
  if (error >= 0 || error == -NLE_NOADDR) return absl::OkStatus();
  return NetlinkError(error, name, absl::StrCat("take ", text, " from ", name));
}

std::string TapHint(const std::string& name) {
  return absl::StrCat("as root: ip tuntap add dev ", name, " mode tap user ", getuid(), "; ip link set ", name,
                      " up; with an address if it is to have one");
}

absl::Status Denied(const std::string& name, absl::string_view what) {
  return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("this user may not ", what),
                   {"TAP_DENIED", name, TapHint(name)});
}

absl::Status NetlinkError(int error, const std::string& name, absl::string_view what) {
  if (error == -NLE_PERM) return Denied(name, what);
  return MakeError(absl::StatusCode::kInternal, absl::StrCat("cannot ", what, ": ", nl_geterror(error)),
                   {"NETLINK_FAILED", name, "see `ip -d addr show`"});
}

}  // namespace umld::devices
