#ifndef UMLD_VMCORE_PRIVILEGES_H_
#define UMLD_VMCORE_PRIVILEGES_H_

#include "absl/status/status.h"

namespace umld::vmcore {

// Gives up for good, for this process and all that it starts, the capabilities that a supervisor of a confined guest
// has no use for. What stays is in the list in privileges.cc, each with its reason. Nothing to do for who has none: an
// ordinary user, before a user namespace gives all of them. For a process with one thread.
absl::Status DropUnneededCapabilities();

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_PRIVILEGES_H_
