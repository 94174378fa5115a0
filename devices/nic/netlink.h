#ifndef UMLD_DEVICES_NIC_NETLINK_H_
#define UMLD_DEVICES_NIC_NETLINK_H_

#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld::devices {

// What taps need of libnl and of the tun driver. All of it is about the network namespace that a socket or a
// descriptor was opened in, and blocks for the kernel's answer alone (well under a millisecond).

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct PutLink {
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;
using Link = std::unique_ptr<rtnl_link, PutLink>;

// In the network namespace of this process.
absl::StatusOr<Socket> OpenNetlink();
// kFailedPrecondition: the host has no tun driver. kPermissionDenied: its device is closed to this user.
absl::StatusOr<UniqueFd> OpenTun();

// Attaches to the tap `name`, or makes it; `more_flags`: IFF_TUN_EXCL, IFF_VNET_HDR, or 0. 0 or errno.
int AttachTap(const UniqueFd& tun, const std::string& name, unsigned more_flags);

// nullptr: there is none.
Link FindLink(nl_sock* socket, const std::string& name);
Link FindLink(nl_sock* socket, int index);
// 0: there is none.
int FindIndex(nl_sock* socket, const std::string& name);
absl::Status BringUp(nl_sock* socket, const std::string& name);
// It need not be there any more.
absl::Status DeleteLink(nl_sock* socket, int index);

// Whether `address`, "192.0.2.254/24", is on the interface already. kFailedPrecondition, ADDRESS_IN_USE: on another
// one.
absl::StatusOr<bool> HasAddress(nl_sock* socket, int index, const std::string& address);
absl::Status AddAddress(nl_sock* socket, const std::string& name, int index, const std::string& address);
// It need not be there any more.
absl::Status RemoveAddress(nl_sock* socket, const std::string& name, int index, const std::string& address);

// How root makes a tap for this user.
std::string TapHint(const std::string& name);
// kPermissionDenied: this user may not `what`.
absl::Status Denied(const std::string& name, absl::string_view what);
// `error` of libnl, as a status: it happened when we wanted to `what`.
absl::Status NetlinkError(int error, const std::string& name, absl::string_view what);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_NETLINK_H_
