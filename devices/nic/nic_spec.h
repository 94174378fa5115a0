#ifndef UMLD_DEVICES_NIC_NIC_SPEC_H_
#define UMLD_DEVICES_NIC_NIC_SPEC_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::devices {

// eth0 to eth15 and vec0 to vec15. The kernel would take any number.
inline constexpr uint32_t kMaxNics = 16;
// What one mconsole request can carry after "config ".
inline constexpr size_t kMaxNicSpec = 504;
// Where uml_switch listens when nobody says otherwise, and where Debian's kernel looks.
inline constexpr char kDefaultSwitchSocket[] = "/var/run/uml-utilities/uml_switch.ctl";

// One interface of a guest, as it is named inside. The legacy drivers (eth) come before the vector ones, each by
// number.
struct NicDevice {
  bool vector = false;  // vec, else eth
  uint32_t unit = 0;
  friend auto operator<=>(const NicDevice&, const NicDevice&) = default;
};

enum class NicTransport {
  kTuntap,  // eth: a tap of the host
  kDaemon,  // eth: a uml_switch
  kMcast,   // eth: a multicast group, a bus of guests
  kUcast,   // eth: UDP between two
  kVde,     // eth: a vde_switch
  kTap,     // vec: a tap of the host
  kHybrid,  // vec: a tap for sending, a raw socket on it for receiving
  kRaw,     // vec: a raw socket on an interface of the host
  kGre,     // vec: an Ethernet tunnel
  kL2tpv3,  // vec: an Ethernet tunnel
};

// One network interface, as wanted. A field that the transport has no use for stays as it is here. Says nothing about
// whether the tap, the switch or the interface exists.
struct NicSpec {
  NicDevice device;
  NicTransport transport = NicTransport::kTuntap;
  std::string mac;           // "02:00:00:00:00:01", lower case; empty: umld makes one up
  std::string interface;     // kTuntap, kTap, kHybrid: the tap; empty: umld names one. kRaw: not empty
  std::string host_address;  // kTuntap, kTap, kHybrid: what the host's end gets, "192.168.0.254/24"; empty: nothing
  std::string socket;        // kDaemon: the switch's control socket; kVde: the switch's folder. Absolute, or empty
  std::string address;       // kMcast: the group; kUcast: the peer. IPv4; empty: the kernel's own
  uint16_t port = 0;         // kMcast, kUcast: where to listen; 0: the kernel's own
  uint16_t remote_port = 0;  // kUcast; 0: the kernel's own
  uint32_t ttl = 0;          // kMcast; 0: the kernel's own
  // vec: what the driver takes beside the above ("depth"). kVde: "port", "group", "mode", "description".
  std::map<std::string, std::string> options;
  friend bool operator==(const NicSpec&, const NicSpec&) = default;
};

// All of these are pure. kInvalidArgument: names the position and the reason.

// Reads
//   ethN=tuntap,[TAP],[MAC],[ADDRESS[/PREFIX]]   ethN=daemon,[MAC],[unix],[SOCKET]   ethN=vde,[FOLDER],[MAC],[PORT],...
//   ethN=mcast,[MAC],[GROUP],[PORT],[TTL]        ethN=ucast,[MAC],[PEER],[PORT],[PEER'S PORT]
//   vecN:transport=tap,ifname=TAP,mac=MAC,depth=64,gro=1,...      and hybrid, raw, gre, l2tpv3
// An address without a prefix length gets /24, so that host and guest reach each other with no route of their own. The
// kernel never hears of it: for an address it would run the setuid helper uml_net, which umld replaces. For vec it is
// spelled host=ADDRESS, which is ours. Refuses slirp, slip, pcap, ethertap, fd and bess with what to use instead,
// unknown options (the kernel ignores them silently), ifup= (it would run a program), and what the kernel would read
// differently (eth010 is eth8 to it).
absl::StatusOr<NicSpec> ParseNicSpec(absl::string_view text);

// "eth0" or "vec3" to the device. kInvalidArgument: no such interface.
absl::StatusOr<NicDevice> ParseNicName(absl::string_view text);
// The inverse.
std::string NicName(const NicDevice& device);

// "02:00:00:00:00:01" to its canonical spelling. kInvalidArgument: not six bytes, or no address of one station.
absl::StatusOr<std::string> ParseMac(absl::string_view text);
// A tap is one guest's alone: whether the transport needs one.
bool UsesTap(NicTransport transport);
// Whether a confined guest can have it: its kernel is in an empty network namespace, gets taps from outside, and has no
// capability for raw sockets. kFailedPrecondition, NEEDS_HOST_NETWORK: it cannot.
absl::Status CheckConfinedNic(const NicSpec& spec);
// "tuntap", "daemon", ...
absl::string_view NicTransportName(NicTransport transport);

// What stands after "eth0=" or "vec0:".
std::string PrintNicValue(const NicSpec& spec);
// "eth0=tuntap,tap0,02:00:00:00:00:01,192.168.0.254/24". Inverse of ParseNicSpec. A spec that was put together from
// typed fields is valid when ParseNicSpec gives back the same.
std::string PrintNicSpec(const NicSpec& spec);
// The same without what is ours: an argument of the kernel's command line, and of mconsole's config.
std::string PrintNicKernelArgument(const NicSpec& spec);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_NIC_SPEC_H_
