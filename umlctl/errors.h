#ifndef UMLD_UMLCTL_ERRORS_H_
#define UMLD_UMLCTL_ERRORS_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace umld::umlctl {

// What a script can tell apart. Documented in umlctl(1).
enum ExitCode : int {
  kExitOk = 0,
  kExitGuestSaidNo = 1,  // or what was waited for ended badly
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitWrongState = 4,
  kExitBusyOrExists = 5,
  kExitDenied = 6,
  kExitUnreachable = 7,
  kExitTimedOut = 8,
  kExitBug = 70,
  kExitInterrupted = 130,
};

// Reasons of kAborted errors that are the guest's answer, not a conflict between callers.
inline constexpr char kGuestCrashed[] = "GUEST_CRASHED";
inline constexpr char kGuestSaidNo[] = "GUEST_SAID_NO";

// An answer of "no": kAborted with reason kGuestSaidNo, exit code 1.
absl::Status SaidNo(absl::string_view message, absl::string_view subject, absl::string_view hint);

// kInvalidArgument: what was typed cannot be meant.
absl::Status UsageError(absl::string_view message, absl::string_view hint);

ExitCode ExitCodeOf(const absl::Status& status);

// "error: ..." and "hint:  ...", control characters made visible. The one place that prints errors.
void PrintError(const absl::Status& status, std::ostream& err);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_ERRORS_H_
