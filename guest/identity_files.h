#ifndef UMLD_GUEST_IDENTITY_FILES_H_
#define UMLD_GUEST_IDENTITY_FILES_H_

#include <vector>

#include "guest/guest_file.h"

namespace umld::guest {

// The files of the guest that gives a clone an identity of its own, beside busybox: those of guest/identity/.
std::vector<GuestFile> IdentityFiles();

}  // namespace umld::guest

#endif  // UMLD_GUEST_IDENTITY_FILES_H_
