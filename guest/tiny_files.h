#ifndef UMLD_GUEST_TINY_FILES_H_
#define UMLD_GUEST_TINY_FILES_H_

#include <vector>

#include "base/embedded_file.h"

namespace umld {

// The files of the image "tiny" beside busybox: those of guest/tiny/.
std::vector<EmbeddedFile> TinyFiles();

}  // namespace umld

#endif  // UMLD_GUEST_TINY_FILES_H_
