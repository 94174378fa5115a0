#ifndef UMLD_UMLD_ADMIN_ONLY_H_
#define UMLD_UMLD_ADMIN_ONLY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "devices/console/console_spec.h"
#include "devices/nic/nic_spec.h"
#include "umld/caller.h"
#include "umld/guest_table.h"
#include "umld/v1/resources.pb.h"

namespace umld {

// What of a guest's configuration takes more of the host than the permissions of whoever asks for it give. Each says
// what it is, in words for CheckAdminOnly; empty: anybody may ask for it. All are pure.

absl::string_view AdminOnlyArgument(absl::string_view kernel_argument);
absl::string_view AdminOnlyChannel(const devices::ConsoleChannel& channel);
absl::string_view AdminOnlyNic(const devices::NicSpec& spec);

// As NeedsAdmin, if it is anything.
absl::Status CheckAdminOnly(absl::string_view what, const Caller& caller);
// As NeedsAdmin with the guest's name, if the guest may be unconfined: who is root in it has what umld has.
absl::Status CheckUnconfined(const GuestView& view, absl::string_view what, const Caller& caller);

// Takes out of `guest` what an admin alone may ask for: it is the word of somebody else, whom an admin only passes on.
// What was taken, a line for each.
std::vector<std::string> TakeOutAdminOnly(v1::Guest* guest);

}  // namespace umld

#endif  // UMLD_UMLD_ADMIN_ONLY_H_
