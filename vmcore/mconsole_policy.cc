#include "vmcore/mconsole_policy.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::vmcore {
namespace {

// A command for something that vmcore keeps account of.
absl::Status UsePlug(absl::string_view command, absl::string_view what, absl::string_view hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("\"", command, "\" would change ", what, " behind umld's back"),
                   {"USE_PLUG", "", std::string(hint)});
}

absl::Status DiskCommand(absl::string_view command) {
  return UsePlug(command, "a disk", "use plug and unplug: they check the files and remember the disk");
}

}  // namespace

absl::StatusOr<RawCommand> JudgeRawCommand(absl::string_view command, bool force) {
  absl::string_view rest = command;
  if (absl::ConsumePrefix(&rest, "sysrq")) {
    if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "t") && !force) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "\"sysrq t\" makes this kernel panic",
                       {"KILLS_THE_GUEST", "", "force it if that is what you want"});
    }
    return RawCommand::kPassOn;
  }
  if (absl::ConsumePrefix(&rest, "config")) {
    bool disk = absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "ubd");
    if (disk && absl::StrContains(rest, '=')) return DiskCommand(command);
    if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "mem=")) {
      return UsePlug(command, "the memory", "use plug mem=-SIZE: it leaves the guest what it needs");
    }
    return RawCommand::kPassOn;
  }
  if (absl::ConsumePrefix(&rest, "remove")) {
    if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "ubd")) return DiskCommand(command);
    return RawCommand::kPassOn;
  }
  if (absl::StartsWith(command, "halt")) return RawCommand::kHalt;
  if (absl::StartsWith(command, "reboot")) return RawCommand::kReboot;
  if (absl::StartsWith(command, "stop")) return RawCommand::kPause;
  if (absl::StartsWith(command, "go")) return RawCommand::kResume;
  return RawCommand::kPassOn;
}

}  // namespace umld::vmcore
