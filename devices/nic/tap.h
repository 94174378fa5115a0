#ifndef UMLD_DEVICES_NIC_TAP_H_
#define UMLD_DEVICES_NIC_TAP_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld::devices {

// The host's end of a guest's interface: a tap, and how much of it is ours. In the network namespace of the calling
// process.
// An index is never reused by another interface while the host runs, so it tells ours from one that only has the name.
struct HostEnd {
  std::string name;
  int index = 0;
  bool made = false;    // by us, so that it is ours to remove
  std::string address;  // put on it by us, "192.168.0.254/24", or empty
  friend bool operator==(const HostEnd&, const HostEnd&) = default;
};

// Must make the tap's record durable: it runs when all is known of the tap and nothing of it outlives this process yet.
using RecordTap = std::function<absl::Status(const HostEnd&)>;

// What becomes of a tap that is there already.
enum class ExistingTap { kTaken, kRefused };

// Makes the tap, owned by the calling user, or takes one that is there and has no other program attached; brings it up,
// and gives it `address` unless that is empty or there already. A process that is killed in between leaves either
// nothing behind or something that was recorded. Blocks for netlink's answers alone (well under a millisecond).
// kPermissionDenied: the tap would have to be made, addressed or brought up, and the caller may not.
// kFailedPrecondition: the name is another kind of interface's (NOT_A_TAP), or any interface's (NAME_TAKEN, with
// kRefused), the tap is in use (TAP_BUSY), the address is another interface's (ADDRESS_IN_USE), or the host has no tun
// driver. On failure the host is as it was.
absl::StatusOr<HostEnd> OpenTap(const std::string& name, const std::string& address, ExistingTap existing,
                                const RecordTap& record);

// Takes back what OpenTap did, also of a tap that has been renamed. One that is gone, or another one of that name, is
// nobody's loss. Whoever is attached to a tap that we made loses it; when the caller may not administer the network
// (any more) it is refused instead, TAP_BUSY.
absl::Status CloseTap(const HostEnd& tap);

// Attaches to `tap`, which OpenTap has opened, with the `flags` of TUNSETIFF: what reads and writes the frames. It may
// have been renamed; its offloads and the length of its header are as if it were new. Only one at a time can be
// attached. 0 or errno: EBUSY, one is; ENODEV, it is there no more; EINVAL, flags of another kind of device; EPERM, the
// caller is not its owner, and may not administer the network.
int AttachToTap(const HostEnd& tap, unsigned flags, UniqueFd* attached);

// 0: there is no interface of that name.
int InterfaceIndex(const std::string& name);

// A record of several taps as text, good for this boot of the host alone, and back; what is not readable is left out.
std::string PrintTapRecord(const std::vector<HostEnd>& taps);
std::vector<HostEnd> ParseTapRecord(absl::string_view text);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_TAP_H_
