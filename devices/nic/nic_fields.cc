#include "devices/nic/nic_fields.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace umld::devices {
namespace {

using Fault = SpecFault;

constexpr size_t kMaxSocketPath = 107;
constexpr uint32_t kDefaultPrefix = 24;

constexpr char kMacHint[] = "write six bytes, as 02:00:00:00:00:01, or leave it out and umld makes one";
constexpr char kTapHint[] = "a Linux interface has a name of at most 15 letters, digits, '-', '_' and '.'";
constexpr char kAddressHint[] = "write an IPv4 address of the host's own, as 192.168.0.254 or 192.168.0.254/24";
constexpr char kSocketHint[] = "write the absolute path of the switch";

}  // namespace

std::string Show(absl::string_view part) { return absl::StrCat("\"", absl::CHexEscape(part.substr(0, 20)), "\""); }

// To the kernel a space ends an argument, and so does 0xa0, which occurs inside UTF-8 characters.
size_t FindUnprintable(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (!absl::ascii_isgraph(text[i])) return i;
  }
  return absl::string_view::npos;
}

// Decimal, with no leading zero: 010 is 8 to the kernel.
bool ReadNumber(absl::string_view text, uint64_t max, uint64_t* number) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return absl::SimpleAtoi(text, number) && *number <= max;
}

std::optional<std::string> ReadIpv4(absl::string_view text) { return CanonicalAddress(AF_INET, text); }

std::optional<std::string> ReadIpv6(absl::string_view text) { return CanonicalAddress(AF_INET6, text); }

std::optional<SpecFault> ReadMac(absl::string_view text, std::string* mac) {
  std::array<unsigned, 6> bytes = {};
  size_t at = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    size_t digits = 0;
    while (at < text.size() && absl::ascii_isxdigit(text[at]) && digits < 2) {
      const char c = absl::ascii_tolower(text[at++]);
      bytes[i] = bytes[i] * 16 + static_cast<unsigned>(absl::ascii_isdigit(c) ? c - '0' : c - 'a' + 10);
      ++digits;
    }
    const bool last = i + 1 == bytes.size();
    if (digits == 0 || (last ? at != text.size() : at >= text.size() || text[at] != ':')) {
      return Fault{at, absl::StrCat(Show(text), " is not an Ethernet address"), kMacHint};
    }
    ++at;
  }
  if ((bytes[0] & 1U) != 0) {
    return Fault{0, absl::StrCat(Show(text), " is a group's address: the first byte is odd"), kMacHint};
  }
  if (bytes == std::array<unsigned, 6>{}) {
    return Fault{0, "the Ethernet address is all zeros", kMacHint};
  }
  *mac = absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
  return std::nullopt;
}

std::optional<SpecFault> ReadInterface(absl::string_view text, std::string* name) {
  if (text.empty() || text.size() >= IFNAMSIZ) {
    return Fault{0, absl::StrCat("the name of the host's interface has ", text.size(), " bytes"), kTapHint};
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.') {
      return Fault{i, absl::StrCat("the name of the host's interface contains ", Show(text.substr(i, 1))), kTapHint};
    }
  }
  if (text == "." || text == ".." || text == "lo" || text == "all" || text == "default") {
    return Fault{0, absl::StrCat(Show(text), " is not the name of a tap"), kTapHint};
  }
  *name = std::string(text);
  return std::nullopt;
}

std::optional<SpecFault> ReadHostAddress(absl::string_view text, std::string* address) {
  const size_t slash = text.find('/');
  absl::string_view ip = text.substr(0, slash);
  std::optional<std::string> canonical = ReadIpv4(ip);
  if (!canonical) return Fault{0, absl::StrCat(Show(ip), " is not an IPv4 address"), kAddressHint};
  uint64_t prefix = kDefaultPrefix;
  if (slash != absl::string_view::npos && (!ReadNumber(text.substr(slash + 1), 32, &prefix) || prefix == 0)) {
    return Fault{slash + 1, "the length of the network's prefix is not a number from 1 to 32", kAddressHint};
  }
  in_addr parsed = {};
  inet_pton(AF_INET, canonical->c_str(), &parsed);
  const uint32_t number = ntohl(parsed.s_addr);
  const uint32_t host_bits = prefix == 32 ? 0 : (uint32_t{1} << (32 - prefix)) - 1;
  if (number >> 24 == 0 || number >> 24 == 127 || number >> 28 >= 0xe) {
    return Fault{0, absl::StrCat(*canonical, " is no address of a single interface"), kAddressHint};
  }
  if (prefix < 31 && ((number & host_bits) == 0 || (number & host_bits) == host_bits)) {
    return Fault{0, absl::StrCat(*canonical, " is the network's own or its broadcast address in /", prefix),
                 kAddressHint};
  }
  *address = absl::StrCat(*canonical, "/", prefix);
  return std::nullopt;
}

std::optional<SpecFault> ReadSocket(absl::string_view text, std::string* path) {
  if (auto fault = FindFaultInPath(text, "path of the switch", kSocketHint)) return fault;
  if (size_t bad = FindUnprintable(text); bad != absl::string_view::npos) {
    return Fault{bad, "the path of the switch contains something else than visible ASCII", kPlainPathHint};
  }
  if (text.size() > kMaxSocketPath) {
    return Fault{
        0,
        absl::StrCat("the path of the switch has ", text.size(), " bytes, and sockets have at most ", kMaxSocketPath),
        "use a symbolic link with a shorter path"};
  }
  *path = std::string(text);
  return std::nullopt;
}

std::optional<SpecFault> ReadPort(absl::string_view text, uint16_t* port) {
  uint64_t number = 0;
  if (!ReadNumber(text, UINT16_MAX, &number) || number == 0) {
    return Fault{0, absl::StrCat("the port is not a number from 1 to ", UINT16_MAX), "leave it out for UML's own"};
  }
  *port = static_cast<uint16_t>(number);
  return std::nullopt;
}

std::optional<SpecFault> ReadGroup(absl::string_view text, std::string* address) {
  std::optional<std::string> group = ReadIpv4(text);
  in_addr parsed = {};
  if (group) inet_pton(AF_INET, group->c_str(), &parsed);
  if (!group || ntohl(parsed.s_addr) >> 28 != 0xe) {
    return Fault{0, absl::StrCat(Show(text), " is no IPv4 multicast group"), "write 224.0.0.0 to 239.255.255.255"};
  }
  *address = *group;
  return std::nullopt;
}

}  // namespace umld::devices
