#ifndef UMLD_GUEST_DEBIAN_FILES_H_
#define UMLD_GUEST_DEBIAN_FILES_H_

#include <vector>

#include "base/embedded_file.h"

namespace umld {

// The files of the image "debian" beside Debian's own: those of guest/debian/.
std::vector<EmbeddedFile> DebianFiles();

}  // namespace umld

#endif  // UMLD_GUEST_DEBIAN_FILES_H_
