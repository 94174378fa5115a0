#ifndef UMLD_GUEST_DEBIAN_FILES_H_
#define UMLD_GUEST_DEBIAN_FILES_H_

#include <vector>

#include "guest/guest_file.h"

namespace umld::guest {

// The files of the image "debian" beside Debian's own: those of guest/debian/.
std::vector<GuestFile> DebianFiles();

}  // namespace umld::guest

#endif  // UMLD_GUEST_DEBIAN_FILES_H_
