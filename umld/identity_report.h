#ifndef UMLD_UMLD_IDENTITY_REPORT_H_
#define UMLD_UMLD_IDENTITY_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// What the guest that renews an identity (umld/identity.h) says it has done.

inline constexpr char kIdentityUnchanged[] =
    "its identity inside (machine-id, ssh host keys, host name) could not be made new: ";
// kAborted IDENTITY_UNCHANGED.
absl::Status IdentityUnchanged(absl::string_view why);

// From what init has reported, which may be anything at all if the disk's filesystem took that guest over: what was
// done, for people. kAborted IDENTITY_UNCHANGED: not all of it. kFailedPrecondition TOOL_MISSING. Pure.
absl::StatusOr<std::vector<std::string>> ReadIdentityReport(absl::string_view report, const std::string& new_name);

}  // namespace umld

#endif  // UMLD_UMLD_IDENTITY_REPORT_H_
