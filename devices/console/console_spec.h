#ifndef UMLD_DEVICES_CONSOLE_CONSOLE_SPEC_H_
#define UMLD_DEVICES_CONSOLE_CONSOLE_SPEC_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::devices {

// A UML kernel has con0 to con15 and ssl0 to ssl63.
inline constexpr uint32_t kMaxConsoles = 16;
inline constexpr uint32_t kMaxSerialLines = 64;
inline constexpr uint32_t kMaxConsoleFd = 1023;
// What one mconsole request can carry after "config ".
inline constexpr size_t kMaxConsoleSpec = 504;

// One line of a guest. Consoles come before serial lines, each by number.
struct ConsoleDevice {
  bool serial = false;  // ssl, else con
  uint32_t unit = 0;
  friend auto operator<=>(const ConsoleDevice&, const ConsoleDevice&) = default;
};

// The host's end of a line, in one direction or in both. A field that the kind has no use for stays as it is here.
struct ConsoleChannel {
  enum class Kind {
    kNone,   // no such line
    kNull,   // output vanishes, input never comes
    kFd,     // a descriptor that the kernel inherits
    kPty,    // a BSD pty
    kPts,    // a Unix98 pty, which the kernel chooses
    kPort,   // a TCP port
    kTty,    // a terminal of the host
    kXterm,  // a window of its own
  };
  Kind kind = Kind::kNone;
  uint32_t fd = 0;      // kFd: up to kMaxConsoleFd
  std::string address;  // kPort: IPv4 or IPv6 literal to listen at, as inet_ntop writes it; empty: loopback
  uint16_t port = 0;    // kPort: not 0
  std::string path;     // kTty: absolute
  friend bool operator==(const ConsoleChannel&, const ConsoleChannel&) = default;
};

// One line and both its directions, as wanted. Equal channels are one that serves both. Says nothing about whether the
// descriptor, the terminal or the address exists.
struct ConsoleSpec {
  ConsoleDevice device;
  ConsoleChannel in;
  ConsoleChannel out;
  friend bool operator==(const ConsoleSpec&, const ConsoleSpec&) = default;
};

// The same for one line or, without `unit`, for all lines of the kind that have no assignment of their own.
struct ConsoleAssignment {
  bool serial = false;
  std::optional<uint32_t> unit;
  ConsoleChannel in;
  ConsoleChannel out;
  friend bool operator==(const ConsoleAssignment&, const ConsoleAssignment&) = default;
};

// All of these are pure. kInvalidArgument: names the position and the reason.

// Reads conN=CHANNEL | conN=IN,OUT | sslN=... where a channel is none | null | fd:N | pty | pts | port:N |
// port:ADDRESS:N | tty:/dev/tty6 | xterm. The kernel does not know port:ADDRESS:N: it is ours, with an IPv6 address in
// brackets. Refuses `none`, `port`, `pty`, `pts` and `xterm` for one direction beside another kind, what the kernel
// would read differently (fd:010 is 8 to it), and what does not fit into one mconsole request.
absl::StatusOr<ConsoleSpec> ParseConsoleSpec(absl::string_view text);
// The same, and con=... and ssl=..., which only the kernel's command line can hold.
absl::StatusOr<ConsoleAssignment> ParseConsoleAssignment(absl::string_view text);
// What follows the '='; fits behind the name of every line. An error leaves `in` and `out` as they were.
absl::Status ParseConsoleChannels(absl::string_view text, ConsoleChannel* in, ConsoleChannel* out);

// "con3" or "ssl12" to the device. kInvalidArgument: no such line.
absl::StatusOr<ConsoleDevice> ParseConsoleName(absl::string_view text);
// The inverse. `device.unit` is below kMaxConsoles or kMaxSerialLines.
std::string ConsoleName(const ConsoleDevice& device);

// Of an fd: 0, 1 and 2 are the kernel's standard ones, in whose place umld has a console of its own. kInvalidArgument:
// another one, which the kernel would not inherit.
absl::Status CheckConsoleFd(const ConsoleChannel& channel);

// "port:[::1]:9000".
std::string PrintConsoleChannel(const ConsoleChannel& channel);
// "fd:0,fd:1", or one channel when both are equal. Inverse of ParseConsoleChannels.
std::string PrintConsoleValue(const ConsoleChannel& in, const ConsoleChannel& out);
// "con3=port:9000". Inverse of ParseConsoleSpec. A spec that was put together from typed fields is valid when
// ParseConsoleSpec gives back the same.
std::string PrintConsoleSpec(const ConsoleSpec& spec);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_CONSOLE_SPEC_H_
