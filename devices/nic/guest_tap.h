#ifndef UMLD_DEVICES_NIC_GUEST_TAP_H_
#define UMLD_DEVICES_NIC_GUEST_TAP_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "devices/nic/network_namespace.h"
#include "devices/nic/tap.h"

namespace umld::devices {

// A confined guest's interface: in the guest's network namespace a tap, which its kernel opens, and one end of a veth;
// in the host's the other end, with the name and address that were asked for. What comes in at one of the inner two
// goes out at the other, by a tc redirect: it is a wire, without a bridge or an address that could be seen.
//     guest's kernel - tap - (redirect) - veth | veth - the host's bridge, routes, counters
// All of it goes with the namespace, so that nothing outlives a guest whose processes were all killed.

// Everything of one interface: `device` is its name in the guest, "eth0".
struct GuestTap {
  std::string device;
  HostEnd host;  // always made by us
  int tap = 0;   // indexes in the guest's namespace
  int veth = 0;
  friend bool operator==(const GuestTap&, const GuestTap&) = default;
};

// `name` is what the tap and the host's end are called; the tap belongs to `owner`. `record` runs when all is made.
// Blocks for netlink's answers alone, some twenty. kFailedPrecondition: the host has an interface of that name
// (NAME_TAKEN) or that address (ADDRESS_IN_USE), or no tun driver, or no redirects (NO_REDIRECT). kPermissionDenied:
// see NetworkNamespace::Run. On failure nothing is left.
absl::StatusOr<GuestTap> OpenGuestTap(const NetworkNamespace& guest, const std::string& device, const std::string& name,
                                      const std::string& address, uid_t owner, const RecordTap& record);

// Removes it; what is gone already is nobody's loss. A kernel that is attached to the tap loses it.
absl::Status CloseGuestTap(const NetworkNamespace& guest, const GuestTap& tap);

// Whether both inner ends are there: the guest can remove its tap, and whoever has the host's end that and its peer.
bool IsWhole(const NetworkNamespace& guest, const GuestTap& tap);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_GUEST_TAP_H_
