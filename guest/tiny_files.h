#ifndef UMLD_GUEST_TINY_FILES_H_
#define UMLD_GUEST_TINY_FILES_H_

#include <vector>

#include "guest/guest_file.h"

namespace umld::guest {

// The files of the image "tiny" beside busybox: those of guest/tiny/.
std::vector<GuestFile> TinyFiles();

}  // namespace umld::guest

#endif  // UMLD_GUEST_TINY_FILES_H_
