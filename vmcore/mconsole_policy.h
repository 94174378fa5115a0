#ifndef UMLD_VMCORE_MCONSOLE_POLICY_H_
#define UMLD_VMCORE_MCONSOLE_POLICY_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::vmcore {

// What becomes of an mconsole command that a user sent as it is.
enum class RawCommand {
  kPassOn,
  // Commands that change the state of the guest go the way of the typed request, so that vmcore's state stays true.
  kPause,
  kResume,
  kHalt,
  kReboot,
};

// Reads a command as the kernel does: by prefix, case-sensitive. kFailedPrecondition: it would kill the kernel by
// accident (`sysrq t`, unless `force`), or change a disk behind vmcore's back. Pure.
absl::StatusOr<RawCommand> JudgeRawCommand(absl::string_view command, bool force);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_MCONSOLE_POLICY_H_
