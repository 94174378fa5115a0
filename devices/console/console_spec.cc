#include "devices/console/console_spec.h"

#include <arpa/inet.h>

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/spec_text.h"

namespace umld::devices {
namespace {

using Fault = SpecFault;
using Kind = ConsoleChannel::Kind;

constexpr absl::string_view kConsolePrefix = "con";
constexpr absl::string_view kSerialPrefix = "ssl";
constexpr size_t kLongestName = 6;  // "ssl63="
constexpr uint32_t kLastStandardFd = 2;

constexpr char kDevicesHint[] = "this kernel has con0 to con15 and ssl0 to ssl63";
constexpr char kChannelsHint[] =
    "channels are none, null, fd:N, pty, pts, port:N, port:ADDRESS:N, tty:/dev/ttyN and xterm";
constexpr char kSpellingHint[] = "write con3=CHANNEL or con3=IN,OUT, for example con3=port:9000";
constexpr char kPortHint[] = "write port:9000, port:127.0.0.1:9000 or port:[::1]:9000";
constexpr char kTtyHint[] = "write tty:/dev/tty6";

struct NamedKind {
  absl::string_view name;
  Kind kind;
};
constexpr std::array<NamedKind, 8> kKinds = {{{"none", Kind::kNone},
                                              {"null", Kind::kNull},
                                              {"fd", Kind::kFd},
                                              {"pty", Kind::kPty},
                                              {"pts", Kind::kPts},
                                              {"port", Kind::kPort},
                                              {"tty", Kind::kTty},
                                              {"xterm", Kind::kXterm}}};

absl::string_view KindName(Kind kind) {
  for (const NamedKind& named : kKinds) {
    if (named.kind == kind) return named.name;
  }
  return "none";
}

absl::Status Invalid(absl::string_view text, absl::string_view reason, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(ShowSpec(text), " is not a console UML can use: ", reason),
                   {"INVALID_CONSOLE_SPEC", "", std::string(hint)});
}

absl::Status InvalidAt(absl::string_view text, const Fault& fault) {
  return Invalid(text, absl::StrCat("at position ", fault.offset + 1, ", ", fault.reason), fault.hint);
}

std::optional<Fault> Moved(std::optional<Fault> fault, size_t by) {
  if (fault) fault->offset += by;
  return fault;
}

// A part of the spec inside a reason.
std::string Show(absl::string_view part) { return absl::StrCat("\"", absl::CHexEscape(part.substr(0, 20)), "\""); }

// Decimal as the kernel would read it too: to its simple_strtoul 010 is octal and 0x10 hexadecimal.
bool ReadNumber(absl::string_view text, uint32_t max, uint32_t* number) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return absl::SimpleAtoi(text, number) && *number <= max;
}

// The device at the start of `text`, without a number when nothing or '=' stands in its place; `end` is set to what
// follows it.
std::optional<Fault> ReadDevice(absl::string_view text, bool* serial, std::optional<uint32_t>* unit, size_t* end) {
  *serial = absl::StartsWith(text, kSerialPrefix);
  if (!*serial && !absl::StartsWith(text, kConsolePrefix)) {
    return Fault{0, "a console's name begins with \"con\", a serial line's with \"ssl\"", kDevicesHint};
  }
  size_t begin = kConsolePrefix.size();
  size_t at = begin;
  while (at < text.size() && absl::ascii_isdigit(text[at])) ++at;
  *end = at;
  absl::string_view kind = text.substr(0, begin);
  absl::string_view digits = text.substr(begin, at - begin);
  if (digits.empty()) {
    *unit = std::nullopt;
    if (at == text.size() || text[at] == '=') return std::nullopt;
    return Fault{begin, absl::StrCat("there is no console ", kind, absl::CHexEscape(text.substr(begin, 1))),
                 kDevicesHint};
  }
  uint32_t number = 0;
  if (!ReadNumber(digits, (*serial ? kMaxSerialLines : kMaxConsoles) - 1, &number)) {
    return Fault{begin, absl::StrCat("there is no console ", kind, digits.substr(0, 20)), kDevicesHint};
  }
  *unit = number;
  return std::nullopt;
}

// The next three read what follows the ':' of a channel; offsets count from there.

std::optional<Fault> ReadFd(absl::string_view text, ConsoleChannel* channel) {
  if (ReadNumber(text, kMaxConsoleFd, &channel->fd)) return std::nullopt;
  return Fault{0, absl::StrCat("the descriptor is not a number from 0 to ", kMaxConsoleFd),
               "write fd:N with a descriptor that the kernel inherits"};
}

std::optional<Fault> ReadPort(absl::string_view text, ConsoleChannel* channel) {
  size_t port_begin = 0;
  if (absl::StartsWith(text, "[")) {
    size_t close = text.find(']');
    if (close == absl::string_view::npos) {
      return Fault{text.size(), "the ']' after the IPv6 address is missing", kPortHint};
    }
    absl::string_view address = text.substr(1, close - 1);
    auto canonical = CanonicalAddress(AF_INET6, address);
    if (!canonical) return Fault{1, absl::StrCat(Show(address), " is not an IPv6 address"), kPortHint};
    if (!absl::StartsWith(text.substr(close + 1), ":")) {
      return Fault{close + 1, "':' and a port are missing after the address", kPortHint};
    }
    channel->address = *std::move(canonical);
    port_begin = close + 2;
  } else if (size_t colon = text.rfind(':'); colon != absl::string_view::npos) {
    absl::string_view address = text.substr(0, colon);
    auto canonical = CanonicalAddress(AF_INET, address);
    if (!canonical) return Fault{0, absl::StrCat(Show(address), " is not an IPv4 address"), kPortHint};
    channel->address = *std::move(canonical);
    port_begin = colon + 1;
  }
  uint32_t port = 0;
  if (!ReadNumber(text.substr(port_begin), UINT16_MAX, &port) || port == 0) {
    return Fault{port_begin, absl::StrCat("the port is not a number from 1 to ", UINT16_MAX), kPortHint};
  }
  channel->port = static_cast<uint16_t>(port);
  return std::nullopt;
}

std::optional<Fault> ReadTty(absl::string_view text, ConsoleChannel* channel) {
  if (auto fault = FindFaultInPath(text, "path of the terminal", kTtyHint)) return fault;
  channel->path = std::string(text);
  return std::nullopt;
}

std::optional<Fault> ReadChannel(absl::string_view text, ConsoleChannel* channel) {
  if (text.empty()) return Fault{0, "the channel is empty", kChannelsHint};
  size_t colon = text.find(':');
  absl::string_view name = text.substr(0, colon);
  const NamedKind* found = nullptr;
  for (const NamedKind& named : kKinds) {
    if (named.name == name) found = &named;
  }
  if (found == nullptr) return Fault{0, absl::StrCat("there is no channel ", Show(name)), kChannelsHint};
  *channel = {};
  channel->kind = found->kind;
  bool wants_more = found->kind == Kind::kFd || found->kind == Kind::kPort || found->kind == Kind::kTty;
  if (colon == absl::string_view::npos) {
    if (!wants_more) return std::nullopt;
    return Fault{name.size(), absl::StrCat("\"", name, "\" lacks its ':' and what follows it"), kChannelsHint};
  }
  if (!wants_more) {
    // What the kernel answers once somebody has opened the line.
    if (found->kind == Kind::kPts) return Fault{colon, "UML chooses the pts itself; write pts", "write pts alone"};
    return Fault{colon, absl::StrCat("\"", name, "\" takes nothing after it"), absl::StrCat("write ", name, " alone")};
  }
  absl::string_view rest = text.substr(colon + 1);
  std::optional<Fault> fault = found->kind == Kind::kFd     ? ReadFd(rest, channel)
                               : found->kind == Kind::kPort ? ReadPort(rest, channel)
                                                            : ReadTty(rest, channel);
  return Moved(std::move(fault), colon + 1);
}

// Why `channel` cannot serve one direction while `other` serves the other one. Offset 0.
std::optional<Fault> FindFaultBeside(const ConsoleChannel& channel, const ConsoleChannel& other) {
  if (channel.kind == other.kind) return std::nullopt;
  absl::string_view name = KindName(channel.kind);
  std::string alone = absl::StrCat("write ", name, " alone, for both directions");
  switch (channel.kind) {
    case Kind::kNone:
      return Fault{0, "\"none\" means that there is no such line, so it cannot be one direction of it",
                   "write null for a direction that is not used"};
    case Kind::kXterm:
      return Fault{0, "\"xterm\" cannot be only one direction: a window is both", alone};
    case Kind::kPty:
    case Kind::kPts:
      return Fault{0, absl::StrCat("\"", name, "\" cannot be only one direction: a terminal is both"), alone};
    case Kind::kPort:
      return Fault{0, "\"port\" cannot be only one direction: a connection is both",
                   "write port:N alone, or a port for each direction"};
    case Kind::kNull:
    case Kind::kFd:
    case Kind::kTty:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Fault> ReadChannels(absl::string_view text, ConsoleChannel* in, ConsoleChannel* out) {
  size_t comma = text.find(',');
  if (auto fault = ReadChannel(text.substr(0, comma), in)) return fault;
  if (comma == absl::string_view::npos) {
    *out = *in;
    return std::nullopt;
  }
  size_t out_begin = comma + 1;
  size_t end = text.find(',', out_begin);
  if (auto fault = ReadChannel(text.substr(out_begin, end - out_begin), out)) return Moved(fault, out_begin);
  if (end != absl::string_view::npos) {
    return Fault{end, "there is something after the channels for input and output", kSpellingHint};
  }
  if (auto fault = FindFaultBeside(*in, *out)) return fault;
  return Moved(FindFaultBeside(*out, *in), out_begin);
}

// `printed` is the spec in its canonical spelling, `text` what the error shows.
absl::Status CheckLength(absl::string_view printed, size_t limit, absl::string_view text) {
  if (printed.size() <= limit) return absl::OkStatus();
  return Invalid(text,
                 absl::StrCat("it has ", printed.size(), " bytes, and a UML kernel takes at most ", limit,
                              " bytes of console spec"),
                 "use shorter paths, for example through a symbolic link");
}

std::string DeviceText(bool serial, const std::optional<uint32_t>& unit) {
  std::string text(serial ? kSerialPrefix : kConsolePrefix);
  if (unit) absl::StrAppend(&text, *unit);
  return text;
}

}  // namespace

absl::StatusOr<ConsoleSpec> ParseConsoleSpec(absl::string_view text) {
  ASSIGN_OR_RETURN(ConsoleAssignment assignment, ParseConsoleAssignment(text));
  if (!assignment.unit) {
    return InvalidAt(text, {kConsolePrefix.size(),
                            "the number of the line is missing: the running kernel says \"Can't configure all devices "
                            "from mconsole\"",
                            kDevicesHint});
  }
  return ConsoleSpec{{assignment.serial, *assignment.unit}, std::move(assignment.in), std::move(assignment.out)};
}

absl::StatusOr<ConsoleAssignment> ParseConsoleAssignment(absl::string_view text) {
  ConsoleAssignment assignment;
  size_t at = 0;
  if (auto fault = ReadDevice(text, &assignment.serial, &assignment.unit, &at)) return InvalidAt(text, *fault);
  if (at == text.size()) return InvalidAt(text, {at, "'=' and a channel are missing", kSpellingHint});
  if (text[at] != '=') return InvalidAt(text, {at, "there is something between the name and '='", kSpellingHint});
  if (auto fault = Moved(ReadChannels(text.substr(at + 1), &assignment.in, &assignment.out), at + 1)) {
    return InvalidAt(text, *fault);
  }
  std::string printed = absl::StrCat(DeviceText(assignment.serial, assignment.unit), "=",
                                     PrintConsoleValue(assignment.in, assignment.out));
  RETURN_IF_ERROR(CheckLength(printed, kMaxConsoleSpec, text));
  return assignment;
}

absl::Status ParseConsoleChannels(absl::string_view text, ConsoleChannel* in, ConsoleChannel* out) {
  ConsoleChannel read_in;
  ConsoleChannel read_out;
  if (auto fault = ReadChannels(text, &read_in, &read_out)) return InvalidAt(text, *fault);
  RETURN_IF_ERROR(CheckLength(PrintConsoleValue(read_in, read_out), kMaxConsoleSpec - kLongestName, text));
  *in = std::move(read_in);
  *out = std::move(read_out);
  return absl::OkStatus();
}

absl::StatusOr<ConsoleDevice> ParseConsoleName(absl::string_view text) {
  bool serial = false;
  std::optional<uint32_t> unit;
  size_t end = 0;
  if (auto fault = ReadDevice(text, &serial, &unit, &end)) return InvalidAt(text, *fault);
  if (!unit) return InvalidAt(text, {end, "the number of the line is missing", kDevicesHint});
  if (end != text.size()) {
    return InvalidAt(text, {end, "there is something after the console's name", "write con3 or ssl12 alone"});
  }
  return ConsoleDevice{serial, *unit};
}

absl::Status CheckConsoleFd(const ConsoleChannel& channel) {
  if (channel.kind != Kind::kFd || channel.fd <= kLastStandardFd) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("fd:", channel.fd, ": the kernel inherits no descriptor ", channel.fd, " from umld"),
                   {"NO_SUCH_DESCRIPTOR", "",
                    "fd:0,fd:1 is a console that `umlctl console` reaches; pts, port:N and tty:PATH go elsewhere"});
}

std::string ConsoleName(const ConsoleDevice& device) { return DeviceText(device.serial, device.unit); }

std::string PrintConsoleChannel(const ConsoleChannel& channel) {
  absl::string_view name = KindName(channel.kind);
  switch (channel.kind) {
    case Kind::kFd:
      return absl::StrCat(name, ":", channel.fd);
    case Kind::kPort: {
      if (channel.address.empty()) return absl::StrCat(name, ":", channel.port);
      bool v6 = channel.address.find(':') != std::string::npos;
      return absl::StrCat(name, v6 ? ":[" : ":", channel.address, v6 ? "]:" : ":", channel.port);
    }
    case Kind::kTty:
      return absl::StrCat(name, ":", channel.path);
    case Kind::kNone:
    case Kind::kNull:
    case Kind::kPty:
    case Kind::kPts:
    case Kind::kXterm:
      break;
  }
  return std::string(name);
}

std::string PrintConsoleValue(const ConsoleChannel& in, const ConsoleChannel& out) {
  std::string text = PrintConsoleChannel(in);
  return in == out ? text : absl::StrCat(text, ",", PrintConsoleChannel(out));
}

std::string PrintConsoleSpec(const ConsoleSpec& spec) {
  return absl::StrCat(ConsoleName(spec.device), "=", PrintConsoleValue(spec.in, spec.out));
}

}  // namespace umld::devices
