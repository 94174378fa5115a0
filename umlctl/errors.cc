#include "umlctl/errors.h"

#include "base/status.h"
#include "umlctl/address.h"
#include "umlctl/printable.h"

namespace umld::umlctl {
namespace {

// For errors that came without one.
const char* DefaultHint(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return "umlctl --help, or man umlctl";
    case absl::StatusCode::kNotFound:
      return "umlctl list shows the guests, umlctl image list the images";
    case absl::StatusCode::kFailedPrecondition:
      return "umlctl describe shows the guest's state";
    case absl::StatusCode::kAlreadyExists:
      return "choose another name";
    case absl::StatusCode::kAborted:
      return ExitCodeOf(status) == kExitGuestSaidNo ? "umlctl logs shows the guest's messages" : "try again";
    case absl::StatusCode::kResourceExhausted:
      return "free space, or wait until less goes on";
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return "ask as a user who may, or use sudo";
    case absl::StatusCode::kUnavailable:
      return "try again; umlctl host check says whether the daemon is well";
    case absl::StatusCode::kDeadlineExceeded:
      return "umlctl describe shows the guest's state; try again, or give it longer";
    case absl::StatusCode::kUnimplemented:
      return "the daemon is older than this client: compare with umlctl version";
    case absl::StatusCode::kCancelled:
      return "umlctl operations list shows what still goes on";
    default:
      return "this is a bug; please report it with the daemon's log (journalctl -u umld)";
  }
}

}  // namespace

absl::Status SaidNo(absl::string_view message, absl::string_view subject, absl::string_view hint) {
  return MakeError(absl::StatusCode::kAborted, message, {kGuestSaidNo, std::string(subject), std::string(hint)});
}

absl::Status UsageError(absl::string_view message, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument, message, {"USAGE", "", std::string(hint)});
}

ExitCode ExitCodeOf(const absl::Status& status) {
  const std::string reason = GetErrorDetail(status).reason;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kFailedPrecondition:
      return kExitWrongState;
    case absl::StatusCode::kAborted:
      return reason == kGuestCrashed || reason == kGuestSaidNo ? kExitGuestSaidNo : kExitBusyOrExists;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kResourceExhausted:
      return kExitBusyOrExists;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitDenied;
    case absl::StatusCode::kUnavailable:
      // An answer with a reason came from the daemon: it is the guest's supervisor that is out of reach.
      return reason.empty() || reason == kDaemonUnreachable ? kExitUnreachable : kExitWrongState;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitBug;
  }
}

void PrintError(const absl::Status& status, std::ostream& err) {
  const std::string hint = GetErrorDetail(status).hint;
  err << "error: " << PrintableLine(status.message()) << "\n"
      << "hint:  " << PrintableLine(hint.empty() ? DefaultHint(status) : hint) << "\n";
  err.flush();
}

}  // namespace umld::umlctl
