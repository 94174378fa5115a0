#include "umld/nic_wish.h"

#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"

namespace umld {
namespace {

using devices::NicSpec;
using devices::NicTransport;

std::string RandomMac() {
  std::random_device random;
  auto byte = [&random] { return static_cast<unsigned>(random() & 0xffU); };
  return absl::StrFormat("02:%02x:%02x:%02x:%02x:%02x", byte(), byte(), byte(), byte(), byte());
}

// Why two interfaces, the second one of `owner`, cannot both be.
absl::Status CheckPair(const NicSpec& spec, const state::NicRow& other, absl::string_view owner,
                       absl::string_view way_out) {
  const std::string name = devices::NicName(spec.device);
  if (spec.mac == other.mac) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(name, ": ", spec.mac, " is the address of ", owner, "'s ", other.device),
                     {"MAC_IN_USE", spec.mac, "leave it out, and umld makes one"});
  }
  absl::StatusOr<NicSpec> theirs = devices::ParseNicSpec(other.spec);
  const bool both_taps = devices::UsesTap(spec.transport) && theirs.ok() && devices::UsesTap(theirs->transport);
  if (!both_taps || theirs->interface != spec.interface) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(name, ": the tap ", spec.interface, " is ", owner, "'s ", other.device),
                   {"TAP_IN_USE", spec.interface, absl::StrCat("use another tap, or ", way_out)});
}

}  // namespace

std::vector<state::NicRow> LiveNics(const GuestView& view) {
  std::vector<state::NicRow> nics;
  if (!view.alive) return nics;
  for (const vmcore::v1::Nic& live : view.facts.live_nics()) {
    absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(live.spec());
    if (spec.ok()) nics.push_back(ToNicRow(*spec));
  }
  return nics;
}

absl::StatusOr<NicSpec> CompleteNic(NicSpec spec) {
  if (spec.mac.empty()) spec.mac = RandomMac();
  if (devices::UsesTap(spec.transport) && spec.interface.empty()) {
    spec.interface =
        absl::StrCat("tap", spec.mac.substr(6, 2), spec.mac.substr(9, 2), spec.mac.substr(12, 2), spec.mac.substr(15));
  }
  if (spec.transport == NicTransport::kDaemon && spec.socket.empty()) spec.socket = devices::kDefaultSwitchSocket;
  if (spec.transport == NicTransport::kVde && spec.socket.empty()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, absl::StrCat(devices::NicName(spec.device), ": the switch is missing"),
        {"INVALID_NIC_SPEC", devices::NicName(spec.device), "write eth0=vde,FOLDER, as given to vde_switch -s"});
  }
  return spec;
}

absl::Status CheckNic(const NicSpec& spec, const std::vector<state::NicRow>& own, uint64_t guest_id,
                      const std::vector<GuestView>& guests) {
  const std::string device = devices::NicName(spec.device);
  for (const state::NicRow& other : own) {
    if (other.device == device) continue;
    RETURN_IF_ERROR(CheckPair(spec, other, "this guest", "unplug that one first"));
  }
  for (const GuestView& view : guests) {
    if (view.row.id == guest_id) continue;
    std::vector<state::NicRow> others = view.row.nics;
    for (const state::NicRow& live : LiveNics(view)) others.push_back(live);
    for (const state::NicRow& other : others) {
      RETURN_IF_ERROR(CheckPair(spec, other, absl::StrCat("guest ", view.row.name),
                                absl::StrCat("`umlctl unplug ", view.row.name, " ", other.device, "` first")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<NicSpec> NicFromProto(const v1::Nic& nic) {
  absl::string_view device = nic.name();
  if (size_t slash = device.rfind('/'); slash != absl::string_view::npos) device.remove_prefix(slash + 1);
  auto invalid = [&](absl::string_view what) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(device, ": ", what),
                     {"INVALID_NIC", std::string(device), "see umld.v1.Nic for what each transport has"});
  };
  NicSpec spec;
  ASSIGN_OR_RETURN(spec.device, devices::ParseNicName(device));
  if (nic.transport() == v1::Nic::TRANSPORT_UNSPECIFIED || !v1::Nic::Transport_IsValid(nic.transport())) {
    return invalid("the transport is missing");
  }
  // Both enums have the same transports, in one order.
  spec.transport = static_cast<NicTransport>(static_cast<int>(nic.transport()) - 1);
  if (!nic.mac().empty()) {
    ASSIGN_OR_RETURN(spec.mac, devices::ParseMac(nic.mac()));
  }
  constexpr uint32_t kMaxPort = std::numeric_limits<uint16_t>::max();
  if (nic.port() > kMaxPort || nic.remote_port() > kMaxPort) return invalid("a port is above 65535");
  spec.interface = nic.interface();
  spec.host_address = nic.host_address();
  spec.socket = nic.socket();
  spec.address = nic.address();
  spec.port = static_cast<uint16_t>(nic.port());
  spec.remote_port = static_cast<uint16_t>(nic.remote_port());
  spec.ttl = nic.ttl();
  for (const auto& option : nic.options()) spec.options[option.first] = option.second;
  ASSIGN_OR_RETURN(NicSpec parsed, devices::ParseNicSpec(devices::PrintNicSpec(spec)));
  // The one thing that printing and parsing may change: the length of the prefix.
  if (spec.host_address.find('/') == std::string::npos) spec.host_address = parsed.host_address;
  if (!(parsed == spec)) return invalid("a field is set that its transport does not have, or holds what it cannot");
  return spec;
}

v1::Nic NicToProto(const GuestView& view, const state::NicRow& row, bool persistent) {
  v1::Nic out;
  out.set_name(absl::StrCat(view.name(), "/nics/", row.device));
  out.set_mac(row.mac);
  out.set_spec(row.spec);
  out.set_persistent(persistent);
  if (absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(row.spec); spec.ok()) {
    out.set_transport(static_cast<v1::Nic::Transport>(static_cast<int>(spec->transport) + 1));
    out.set_interface(spec->interface);
    out.set_host_address(spec->host_address);
    out.set_socket(spec->socket);
    out.set_address(spec->address);
    out.set_port(spec->port);
    out.set_remote_port(spec->remote_port);
    out.set_ttl(spec->ttl);
    for (const auto& [name, value] : spec->options) (*out.mutable_options())[name] = value;
  }
  if (!view.alive) return out;
  for (const vmcore::v1::Nic& live : view.facts.live_nics()) {
    if (live.device() != row.device || live.spec() != row.spec) continue;
    out.set_plugged(true);
    out.set_interface_made(live.made());
  }
  return out;
}

}  // namespace umld
