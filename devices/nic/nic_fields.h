#ifndef UMLD_DEVICES_NIC_NIC_FIELDS_H_
#define UMLD_DEVICES_NIC_NIC_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "devices/spec_text.h"

namespace umld::devices {

// The parts of an interface's spec. Each reads all of `text`, and stores it in its canonical spelling. Offsets of
// faults count from the beginning of `text`. All of these are pure.

// Of one station: neither a group's address nor all zeros.
std::optional<SpecFault> ReadMac(absl::string_view text, std::string* mac);
// The name of a host's interface, as Linux would take it.
std::optional<SpecFault> ReadInterface(absl::string_view text, std::string* name);
// IPv4 of an interface, with the length of its network's prefix: 24 when `text` has none.
std::optional<SpecFault> ReadHostAddress(absl::string_view text, std::string* address);
// An IPv4 multicast group.
std::optional<SpecFault> ReadGroup(absl::string_view text, std::string* address);
// A path that a socket's address can hold.
std::optional<SpecFault> ReadSocket(absl::string_view text, std::string* path);
// Not 0.
std::optional<SpecFault> ReadPort(absl::string_view text, uint16_t* port);

std::optional<std::string> ReadIpv4(absl::string_view text);
std::optional<std::string> ReadIpv6(absl::string_view text);
// Decimal, up to `max`, with no leading zero: 010 is 8 to the kernel.
bool ReadNumber(absl::string_view text, uint64_t max, uint64_t* number);
// The first byte that ends an argument of the kernel's, or might: npos for none.
size_t FindUnprintable(absl::string_view text);

// A part of a spec inside a reason.
std::string Show(absl::string_view part);

inline constexpr char kPlainPathHint[] = "use a path without, for example through a symbolic link";

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_NIC_FIELDS_H_
