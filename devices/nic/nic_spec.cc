#include "devices/nic/nic_spec.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "devices/nic/nic_fields.h"
#include "devices/spec_text.h"

namespace umld::devices {
namespace {

using Fault = SpecFault;
using Transport = NicTransport;

constexpr absl::string_view kEthPrefix = "eth";
constexpr absl::string_view kVectorPrefix = "vec";

constexpr char kDevicesHint[] = "guests have eth0 to eth15 and vec0 to vec15";
constexpr char kEthHint[] = "write eth0=tuntap,TAP,MAC,ADDRESS, eth0=daemon,MAC,unix,SOCKET, mcast, ucast or vde";
constexpr char kVectorHint[] = "write vec0:transport=tap,ifname=TAP (or hybrid, raw, gre, l2tpv3)";

struct NamedTransport {
  absl::string_view name;
  Transport transport;
  bool vector;
};
constexpr std::array<NamedTransport, 10> kTransports = {{{"tuntap", Transport::kTuntap, false},
                                                         {"daemon", Transport::kDaemon, false},
                                                         {"mcast", Transport::kMcast, false},
                                                         {"ucast", Transport::kUcast, false},
                                                         {"vde", Transport::kVde, false},
                                                         {"tap", Transport::kTap, true},
                                                         {"hybrid", Transport::kHybrid, true},
                                                         {"raw", Transport::kRaw, true},
                                                         {"gre", Transport::kGre, true},
                                                         {"l2tpv3", Transport::kL2tpv3, true}}};

struct RefusedTransport {
  absl::string_view name, reason, hint;
};
constexpr std::array<RefusedTransport, 6> kRefused = {
    {{"slirp", "slirp needs a program that no distribution has any more, and one that the kernel itself would start",
      "use tuntap with an address for the host's end, or vde with vde_switch and slirpvde"},
     {"slip", "slip fails in every kernel of today, and would run the setuid helper uml_net",
      "use tuntap, as eth0=tuntap,tap0,,192.168.0.254"},
     {"ethertap", "hosts have had no ethertap devices since Linux 2.4", "use tuntap, as eth0=tuntap,tap0"},
     {"pcap", "UML kernels are built without pcap, which could not send in any case",
      "use vec0:transport=raw,ifname=INTERFACE"},
     {"fd", "umld starts the kernel, which inherits no descriptor of yours", "use vec0:transport=tap,ifname=TAP"},
     {"bess", "the kernel cannot bring such an interface up (EINVAL)", "use vec0:transport=tap,ifname=TAP"}}};

// What vec takes beside transport, ifname, mac and host, and for which transports.
struct VectorOption {
  absl::string_view name;
  enum class Kind { kNumber, kFlag, kHost, kPort, kPath } kind;
  bool tunnel = false;  // gre and l2tpv3 alone
};
using Option = VectorOption::Kind;
constexpr std::array<VectorOption, 24> kVectorOptions = {
    {{"depth", Option::kNumber, false},     {"mtu", Option::kNumber, false},
     {"headroom", Option::kNumber, false},  {"gro", Option::kFlag, false},
     {"vec", Option::kFlag, false},         {"bpffile", Option::kPath, false},
     {"bpfflash", Option::kFlag, false},    {"src", Option::kHost, true},
     {"dst", Option::kHost, true},          {"srcport", Option::kPort, true},
     {"dstport", Option::kPort, true},      {"v6", Option::kFlag, true},
     {"udp", Option::kFlag, true},          {"rx_key", Option::kNumber, true},
     {"tx_key", Option::kNumber, true},     {"sequence", Option::kFlag, true},
     {"pin_sequence", Option::kFlag, true}, {"rx_session", Option::kNumber, true},
     {"tx_session", Option::kNumber, true}, {"rx_cookie", Option::kNumber, true},
     {"tx_cookie", Option::kNumber, true},  {"cookie64", Option::kFlag, true},
     {"counter", Option::kFlag, true},      {"pin_counter", Option::kFlag, true}}};

std::optional<Fault> Moved(std::optional<Fault> fault, size_t by) {
  if (fault) fault->offset += by;
  return fault;
}

absl::Status InvalidAt(absl::string_view text, const Fault& fault) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(ShowSpec(text), " is not a network interface UML can use: at position ",
                                fault.offset + 1, ", ", fault.reason),
                   {"INVALID_NIC_SPEC", "", fault.hint});
}

// The device at the start of `text`; `end` is set to what follows it.
std::optional<Fault> ReadDevice(absl::string_view text, NicDevice* device, size_t* end) {
  device->vector = absl::StartsWith(text, kVectorPrefix);
  if (!device->vector && !absl::StartsWith(text, kEthPrefix)) {
    return Fault{0, "an interface's name begins with \"eth\" or \"vec\"", kDevicesHint};
  }
  const size_t begin = kEthPrefix.size();
  size_t at = begin;
  while (at < text.size() && absl::ascii_isdigit(text[at])) ++at;
  absl::string_view digits = text.substr(begin, at - begin);
  uint64_t unit = 0;
  if (digits.empty()) return Fault{begin, "the interface's number is missing", kDevicesHint};
  if (!ReadNumber(digits, kMaxNics - 1, &unit)) {
    return Fault{begin, absl::StrCat("there is no interface ", text.substr(0, begin), digits.substr(0, 20)),
                 kDevicesHint};
  }
  device->unit = static_cast<uint32_t>(unit);
  *end = at;
  return std::nullopt;
}

// ---------------------------------------------------------------- eth

struct Field {
  absl::string_view what;
  std::function<std::optional<Fault>(absl::string_view)> read;  // not called for an empty field
};

std::vector<Field> FieldsOf(NicSpec* spec) {
  const Field mac = {"MAC", [spec](absl::string_view text) { return ReadMac(text, &spec->mac); }};
  auto option = [spec](absl::string_view name, std::function<bool(absl::string_view)> valid) {
    return Field{name, [=](absl::string_view text) -> std::optional<Fault> {
                   if (!valid(text)) return Fault{0, absl::StrCat("the ", name, " is not valid"), kEthHint};
                   spec->options[std::string(name)] = std::string(text);
                   return std::nullopt;
                 }};
  };
  auto number = [](uint64_t max) {
    return [max](absl::string_view text) {
      uint64_t value = 0;
      return ReadNumber(text, max, &value);
    };
  };
  auto word = [](absl::string_view text) {
    return text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
             return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
           });
  };
  auto octal = [](absl::string_view text) {
    return text.size() <= 4 && text.find_first_not_of("01234567") == absl::string_view::npos;
  };
  auto peer = [spec](absl::string_view text) -> std::optional<Fault> {
    std::optional<std::string> address = ReadIpv4(text);
    if (!address) return Fault{0, absl::StrCat(Show(text), " is no IPv4 address"), "write the peer's, as 127.0.0.1"};
    spec->address = *address;
    return std::nullopt;
  };
  auto ttl = [spec](absl::string_view text) -> std::optional<Fault> {
    uint64_t value = 0;
    if (!ReadNumber(text, 255, &value) || value == 0) {
      return Fault{0, "the time to live is not a number from 1 to 255", "leave it out for 1"};
    }
    spec->ttl = static_cast<uint32_t>(value);
    return std::nullopt;
  };
  auto unix_alone = [](absl::string_view text) -> std::optional<Fault> {
    if (text == "unix") return std::nullopt;
    return Fault{0, absl::StrCat(Show(text), " is no kind of socket that a switch has"), "write unix, or nothing"};
  };
  const Field socket = {"switch", [spec](absl::string_view text) { return ReadSocket(text, &spec->socket); }};
  const Field port = {"port", [spec](absl::string_view text) { return ReadPort(text, &spec->port); }};
  switch (spec->transport) {
    case Transport::kTuntap:
      return {{"tap", [spec](absl::string_view text) { return ReadInterface(text, &spec->interface); }},
              mac,
              {"address", [spec](absl::string_view text) { return ReadHostAddress(text, &spec->host_address); }}};
    case Transport::kDaemon:
      return {mac, {"kind", unix_alone}, socket};
    case Transport::kMcast:
      return {mac,
              {"group", [spec](absl::string_view text) { return ReadGroup(text, &spec->address); }},
              port,
              {"time to live", ttl}};
    case Transport::kUcast:
      return {mac, {"peer", peer}, port, {"peer's port", [spec](absl::string_view text) {
                                            return ReadPort(text, &spec->remote_port);
                                          }}};
    case Transport::kVde:
      return {socket,
              mac,
              option("port", number(65535)),
              option("group", word),
              option("mode", octal),
              option("description", word)};
    default:
      return {};
  }
}

// A comma-separated list, with the kernel's view of a MAC: it has ':' but no ','.
std::optional<Fault> ReadFields(absl::string_view text, NicSpec* spec) {
  const std::vector<Field> fields = FieldsOf(spec);
  size_t begin = 0;
  for (size_t i = 0;; ++i) {
    const size_t end = text.find(',', begin);
    absl::string_view part = text.substr(begin, end - begin);
    if (i >= fields.size()) {
      if (part.empty() && end == absl::string_view::npos) return std::nullopt;
      return Fault{begin, absl::StrCat("there is something after the ", fields.back().what), kEthHint};
    }
    if (!part.empty()) {
      if (auto fault = Moved(fields[i].read(part), begin)) return fault;
    }
    if (end == absl::string_view::npos) return std::nullopt;
    begin = end + 1;
  }
}

std::optional<Fault> ReadTransport(absl::string_view name, bool vector, Transport* transport) {
  for (const NamedTransport& named : kTransports) {
    if (named.name != name) continue;
    if (named.vector == vector) {
      *transport = named.transport;
      return std::nullopt;
    }
    return Fault{0, absl::StrCat("\"", name, "\" is a transport of ", named.vector ? "vec" : "eth", " interfaces"),
                 vector ? kVectorHint : kEthHint};
  }
  for (const RefusedTransport& refused : kRefused) {
    if (refused.name == name) return Fault{0, std::string(refused.reason), std::string(refused.hint)};
  }
  return Fault{0, absl::StrCat("there is no transport ", Show(name)), vector ? kVectorHint : kEthHint};
}

std::optional<Fault> ReadEth(absl::string_view text, NicSpec* spec) {
  const size_t comma = text.find(',');
  if (auto fault = ReadTransport(text.substr(0, comma), false, &spec->transport)) return fault;
  if (comma == absl::string_view::npos) return std::nullopt;
  return Moved(ReadFields(text.substr(comma + 1), spec), comma + 1);
}

// ---------------------------------------------------------------- vec

bool IsTunnel(Transport transport) { return transport == Transport::kGre || transport == Transport::kL2tpv3; }

std::optional<Fault> ReadOption(absl::string_view name, absl::string_view value, NicSpec* spec) {
  const VectorOption* found = nullptr;
  for (const VectorOption& option : kVectorOptions) {
    if (option.name == name && (!option.tunnel || IsTunnel(spec->transport))) found = &option;
  }
  if (name == "ifup") {
    return Fault{0, "ifup= has the kernel run a program on the host",
                 "host=ADDRESS addresses the tap; for more, make the tap yourself and name it"};
  }
  if (found == nullptr) {
    return Fault{0, absl::StrCat("a ", NicTransportName(spec->transport), " interface has no option ", Show(name)),
                 "depth, mtu, headroom, gro, vec, bpffile and bpfflash are for all; see vec in the manual"};
  }
  const size_t at = name.size() + 1;
  uint64_t number = 0;
  switch (found->kind) {
    case Option::kFlag:
      if (value != "0" && value != "1") return Fault{at, absl::StrCat(name, " is not 0 or 1"), kVectorHint};
      break;
    case Option::kNumber:
      if (!ReadNumber(value, absl::EndsWith(name, "_cookie") ? UINT64_MAX : UINT32_MAX, &number))
        return Fault{at, absl::StrCat(name, " is no number"), kVectorHint};
      if (name == "mtu" && (number < 576 || number > 65534)) {
        return Fault{at, "the MTU is not a number from 576 to 65534", "1500 is the usual one"};
      }
      if ((name == "depth" && (number == 0 || number > 1024)) || (name == "headroom" && number > 4096)) {
        return Fault{at, absl::StrCat(name, " is out of range"), "depth is 1 to 1024, headroom up to 4096"};
      }
      break;
    case Option::kPort:
      if (!ReadNumber(value, UINT16_MAX, &number) || number == 0) {
        return Fault{at, absl::StrCat(name, " is not a number from 1 to 65535"), kVectorHint};
      }
      break;
    case Option::kHost:
      // A name would be looked up by the kernel process, which may take minutes.
      if (!ReadIpv4(value) && !ReadIpv6(value)) {
        return Fault{at, absl::StrCat(name, " is no IP address"), "write src=ADDRESS,dst=ADDRESS"};
      }
      break;
    case Option::kPath:
      if (auto fault = FindFaultInPath(value, name, kVectorHint)) return Moved(fault, at);
      if (size_t bad = std::min(value.find('='), FindUnprintable(value)); bad != absl::string_view::npos) {
        return Fault{at + bad, absl::StrCat("the ", name, " contains '=', or something else than visible ASCII"),
                     kPlainPathHint};
      }
      break;
  }
  spec->options[std::string(name)] = std::string(value);
  return std::nullopt;
}

struct Pair {
  size_t offset;
  absl::string_view name, value;
};

std::optional<Fault> SplitPairs(absl::string_view text, std::vector<Pair>* pairs) {
  size_t begin = 0;
  while (true) {
    const size_t end = text.find(',', begin);
    absl::string_view part = text.substr(begin, end - begin);
    const size_t equals = part.find('=');
    if (equals == absl::string_view::npos || equals == 0 || equals + 1 == part.size()) {
      return Fault{begin, absl::StrCat(Show(part), " is no NAME=VALUE"), kVectorHint};
    }
    for (const Pair& pair : *pairs) {
      if (pair.name == part.substr(0, equals)) {
        return Fault{begin, absl::StrCat(Show(pair.name), " is given twice"), "give each option once"};
      }
    }
    pairs->push_back({begin, part.substr(0, equals), part.substr(equals + 1)});
    if (end == absl::string_view::npos) return std::nullopt;
    begin = end + 1;
  }
}

std::optional<Fault> ReadVector(absl::string_view text, NicSpec* spec) {
  std::vector<Pair> pairs;
  if (auto fault = SplitPairs(text, &pairs)) return fault;
  bool has_transport = false;
  for (const Pair& pair : pairs) {
    if (pair.name != "transport") continue;
    has_transport = true;
    const size_t at = pair.offset + pair.name.size() + 1;
    if (auto fault = Moved(ReadTransport(pair.value, true, &spec->transport), at)) return fault;
  }
  if (!has_transport) return Fault{0, "transport= is missing", kVectorHint};
  const bool on_interface = UsesTap(spec->transport) || spec->transport == Transport::kRaw;
  for (const Pair& pair : pairs) {
    const size_t at = pair.offset + pair.name.size() + 1;
    std::optional<Fault> fault;
    if (pair.name == "transport") continue;
    if (pair.name == "mac") {
      fault = Moved(ReadMac(pair.value, &spec->mac), at);
    } else if (pair.name == "ifname" && on_interface) {
      fault = Moved(ReadInterface(pair.value, &spec->interface), at);
    } else if (pair.name == "host" && UsesTap(spec->transport)) {
      fault = Moved(ReadHostAddress(pair.value, &spec->host_address), at);
    } else {
      fault = Moved(ReadOption(pair.name, pair.value, spec), pair.offset);
    }
    if (fault) return fault;
  }
  if (spec->transport == Transport::kRaw && spec->interface.empty()) {
    return Fault{text.size(), "raw needs ifname=, an interface of the host", kVectorHint};
  }
  auto has = [spec](const char* name) { return spec->options.count(name) != 0; };
  if (IsTunnel(spec->transport) && (!has("src") || !has("dst"))) {
    return Fault{text.size(), "a tunnel needs src= and dst=", "write src=ADDRESS,dst=ADDRESS"};
  }
  if (spec->transport == Transport::kL2tpv3 && (!has("rx_session") || !has("tx_session"))) {
    return Fault{text.size(), "l2tpv3 needs rx_session= and tx_session=", "write rx_session=1,tx_session=1"};
  }
  return std::nullopt;
}

std::string Fields(const std::vector<std::string>& fields) {
  std::string text = absl::StrJoin(fields, ",");
  return text.substr(0, text.find_last_not_of(',') + 1);
}

std::string Number(uint32_t number) { return number == 0 ? "" : absl::StrCat(number); }

std::string Value(const NicSpec& spec, bool for_kernel) {
  const std::string transport(NicTransportName(spec.transport));
  const std::string address = for_kernel ? "" : spec.host_address;
  auto option = [&spec](const char* name) {
    auto found = spec.options.find(name);
    return found == spec.options.end() ? std::string() : found->second;
  };
  switch (spec.transport) {
    case Transport::kTuntap:
      return Fields({transport, spec.interface, spec.mac, address});
    case Transport::kDaemon:
      return Fields({transport, spec.mac, spec.socket.empty() ? "" : "unix", spec.socket});
    case Transport::kMcast:
      return Fields({transport, spec.mac, spec.address, Number(spec.port), Number(spec.ttl)});
    case Transport::kUcast:
      return Fields({transport, spec.mac, spec.address, Number(spec.port), Number(spec.remote_port)});
    case Transport::kVde:
      return Fields(
          {transport, spec.socket, spec.mac, option("port"), option("group"), option("mode"), option("description")});
    default:
      break;
  }
  std::string text = absl::StrCat("transport=", transport);
  if (!spec.interface.empty()) absl::StrAppend(&text, ",ifname=", spec.interface);
  if (!spec.mac.empty()) absl::StrAppend(&text, ",mac=", spec.mac);
  if (!address.empty()) absl::StrAppend(&text, ",host=", address);
  for (const auto& [name, value] : spec.options) absl::StrAppend(&text, ",", name, "=", value);
  return text;
}

std::string Whole(const NicSpec& spec, bool for_kernel) {
  return absl::StrCat(NicName(spec.device), spec.device.vector ? ":" : "=", Value(spec, for_kernel));
}

}  // namespace

bool UsesTap(NicTransport transport) {
  return transport == Transport::kTuntap || transport == Transport::kTap || transport == Transport::kHybrid;
}

absl::Status CheckConfinedNic(const NicSpec& spec) {
  absl::string_view needs;
  switch (spec.transport) {
    case Transport::kTuntap:
    case Transport::kTap:
      return absl::OkStatus();
    case Transport::kMcast:
    case Transport::kUcast:
    case Transport::kGre:
    case Transport::kL2tpv3:
      needs = "sockets of the host's network";
      break;
    case Transport::kDaemon:
    case Transport::kVde:
      needs = "the sockets of a switch on the host";
      break;
    case Transport::kHybrid:
    case Transport::kRaw:
      needs = "a raw socket on an interface of the host";
      break;
  }
  const std::string name = NicName(spec.device);
  const std::string tap = spec.device.vector ? absl::StrCat(name, ":transport=tap") : absl::StrCat(name, "=tuntap");
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat(name, ": ", NicTransportName(spec.transport), " needs ", needs,
                   ", which a confined guest does not reach"),
      {"NEEDS_HOST_NETWORK", name,
       absl::StrCat("use ", tap,
                    ", or have the guest with --confinement relaxed --trust trusted (of create, and of set)")});
}

absl::string_view NicTransportName(NicTransport transport) {
  for (const NamedTransport& named : kTransports) {
    if (named.transport == transport) return named.name;
  }
  return "";
}

absl::StatusOr<NicSpec> ParseNicSpec(absl::string_view text) {
  NicSpec spec;
  size_t at = 0;
  if (auto fault = ReadDevice(text, &spec.device, &at)) return InvalidAt(text, *fault);
  const char separator = spec.device.vector ? ':' : '=';
  const char* hint = spec.device.vector ? kVectorHint : kEthHint;
  if (at == text.size() || text[at] != separator) {
    return InvalidAt(text, {at, absl::StrCat("'", std::string(1, separator), "' is missing after the name"), hint});
  }
  absl::string_view value = text.substr(at + 1);
  if (value.empty()) return InvalidAt(text, {at + 1, "the transport is missing", hint});
  if (auto fault = Moved(spec.device.vector ? ReadVector(value, &spec) : ReadEth(value, &spec), at + 1)) {
    return InvalidAt(text, *fault);
  }
  if (const size_t length = PrintNicSpec(spec).size(); length > kMaxNicSpec) {
    return InvalidAt(
        text, {kMaxNicSpec, absl::StrCat("it has ", length, " bytes, and a UML kernel takes at most ", kMaxNicSpec),
               "use shorter paths"});
  }
  return spec;
}

absl::StatusOr<NicDevice> ParseNicName(absl::string_view text) {
  NicDevice device;
  size_t end = 0;
  if (auto fault = ReadDevice(text, &device, &end)) return InvalidAt(text, *fault);
  if (end != text.size()) {
    return InvalidAt(text, {end, "there is something after the interface's name", "write eth0 or vec0 alone"});
  }
  return device;
}

std::string NicName(const NicDevice& device) {
  return absl::StrCat(device.vector ? kVectorPrefix : kEthPrefix, device.unit);
}

absl::StatusOr<std::string> ParseMac(absl::string_view text) {
  std::string mac;
  if (auto fault = ReadMac(text, &mac)) return InvalidAt(text, *fault);
  return mac;
}

std::string PrintNicValue(const NicSpec& spec) { return Value(spec, /*for_kernel=*/false); }

std::string PrintNicSpec(const NicSpec& spec) { return Whole(spec, /*for_kernel=*/false); }

std::string PrintNicKernelArgument(const NicSpec& spec) { return Whole(spec, /*for_kernel=*/true); }

}  // namespace umld::devices
