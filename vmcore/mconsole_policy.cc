#include "vmcore/mconsole_policy.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::vmcore {
namespace {

absl::Status BehindOurBack(absl::string_view command) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("\"", command, "\" would change a device behind umld's back"),
                   {"USE_PLUG", "", "use plug and unplug: they check what is asked, and remember it"});
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
  // Whatever the device. Without a value it is a question.
  if (absl::StartsWith(command, "config")) {
    return absl::StrContains(command, '=') ? absl::StatusOr<RawCommand>(BehindOurBack(command)) : RawCommand::kPassOn;
  }
  if (absl::StartsWith(command, "remove")) return BehindOurBack(command);
  if (absl::StartsWith(command, "halt")) return RawCommand::kHalt;
  if (absl::StartsWith(command, "reboot")) return RawCommand::kReboot;
  if (absl::StartsWith(command, "stop")) return RawCommand::kPause;
  if (absl::StartsWith(command, "go")) return RawCommand::kResume;
  return RawCommand::kPassOn;
}

}  // namespace umld::vmcore
