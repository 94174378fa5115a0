#ifndef UMLD_UMLD_TRUST_H_
#define UMLD_UMLD_TRUST_H_

#include "absl/status/status.h"
#include "state/rows.h"

namespace umld {

// Whether the guest's confinement and its kernel's arguments are for whom it is run for: docs/security.md, "Trust".
//
// What a strict guest's kernel can do (loadable modules, /dev/mem, hostfs) is not asked for: it makes the kernel's
// process easier to take over from inside, and the jail is made for one that has been taken over.
// kFailedPrecondition TRUST_REQUIRED: it needs to be trusted. OTHERS_FILE: it is relaxed, and its kernel or a disk is
// to be opened as another user, which a kernel that is not confined does not do. HOSTFS_SHARE: a share that would not
// be one.
absl::Status CheckTrust(const state::GuestRow& guest);

}  // namespace umld

#endif  // UMLD_UMLD_TRUST_H_
