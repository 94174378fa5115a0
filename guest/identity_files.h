#ifndef UMLD_GUEST_IDENTITY_FILES_H_
#define UMLD_GUEST_IDENTITY_FILES_H_

#include <vector>

#include "base/embedded_file.h"

namespace umld {

// The files of the guest that gives a clone an identity of its own, beside busybox: those of guest/identity/.
std::vector<EmbeddedFile> IdentityFiles();

}  // namespace umld

#endif  // UMLD_GUEST_IDENTITY_FILES_H_
