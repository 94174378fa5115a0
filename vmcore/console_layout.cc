#include "vmcore/console_layout.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::vmcore {
namespace {

using devices::ConsoleAssignment;
using devices::ConsoleChannel;
using devices::ConsoleDevice;
using devices::ConsoleSpec;

constexpr ConsoleDevice kCon0 = {false, 0}, kCon1 = {false, 1};

ConsoleChannel Fd(uint32_t fd) {
  ConsoleChannel channel;
  channel.kind = ConsoleChannel::Kind::kFd;
  channel.fd = fd;
  return channel;
}

ConsoleChannel Null() {
  ConsoleChannel channel;
  channel.kind = ConsoleChannel::Kind::kNull;
  return channel;
}

}  // namespace

ConsoleSpec NullLine(const ConsoleDevice& device) { return {device, Null(), Null()}; }

bool IsNone(const ConsoleSpec& spec) { return spec.in.kind == ConsoleChannel::Kind::kNone; }

bool HasTerminal(const ConsoleSpec& spec) {
  return spec.device == kCon0 || !(IsNone(spec) || spec == NullLine(spec.device));
}

absl::StatusOr<std::vector<ConsoleSpec>> ConsoleLines(const v1::GuestConfig& config) {
  std::map<ConsoleDevice, ConsoleSpec> lines;
  std::optional<ConsoleAssignment> defaults[2];  // of consoles, of serial lines
  for (const v1::ConsoleConfig& line : config.consoles()) {
    ASSIGN_OR_RETURN(ConsoleAssignment wanted,
                     devices::ParseConsoleAssignment(absl::StrCat(line.device(), "=", line.channels())));
    bool twice = false;
    if (wanted.unit.has_value()) {
      const ConsoleDevice device = {wanted.serial, *wanted.unit};
      twice = !lines.emplace(device, ConsoleSpec{device, wanted.in, wanted.out}).second;
    } else {
      twice = defaults[wanted.serial].has_value();
      defaults[wanted.serial] = wanted;
    }
    if (twice) {
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("console ", line.device(), " is given twice"),
                       {"BAD_GUEST_CONFIG", line.device(), ""});
    }
  }
  if (!defaults[0].has_value()) {
    for (const ConsoleDevice& device : {kCon0, kCon1}) lines.emplace(device, ConsoleSpec{device, Fd(0), Fd(1)});
  }
  for (const auto& wanted : defaults) {
    if (!wanted.has_value()) continue;
    const uint32_t count = wanted->serial ? devices::kMaxSerialLines : devices::kMaxConsoles;
    for (uint32_t unit = 0; unit < count; ++unit) {
      const ConsoleDevice device = {wanted->serial, unit};
      lines.emplace(device, ConsoleSpec{device, wanted->in, wanted->out});
    }
  }
  if (IsNone(lines[kCon0])) {
    return MakeError(absl::StatusCode::kInvalidArgument, "con0=none: con0 takes the kernel's own messages",
                     {"CONSOLE_NEEDED", "con0", "con0=null keeps them in the log alone"});
  }
  std::vector<ConsoleSpec> all;
  for (auto& [device, spec] : lines) {
    if (device == kCon0 || spec != NullLine(device)) all.push_back(std::move(spec));
  }
  return all;
}

int TerminalFd(size_t index) { return index == 0 ? 0 : static_cast<int>(index) + 2; }

std::vector<std::string> ConsoleArguments(const std::vector<ConsoleSpec>& lines) {
  std::vector<std::string> arguments;
  size_t terminals = 0;
  for (const ConsoleSpec& line : lines) {
    const std::string what = HasTerminal(line) ? absl::StrCat("fd:", TerminalFd(terminals++)) : "none";
    arguments.push_back(absl::StrCat(devices::ConsoleName(line.device), "=", what));
  }
  // `null` and not `none`: with `none` the kernel complains of every one of them.
  arguments.push_back("con=null");
  arguments.push_back("ssl=null");
  return arguments;
}

}  // namespace umld::vmcore
