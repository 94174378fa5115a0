#ifndef UMLD_GUEST_TINY_FILES_H_
#define UMLD_GUEST_TINY_FILES_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace umld::guest {

// A file of the image "tiny" beside busybox. The contents are those of guest/tiny/, built into this program.
struct TinyFile {
  std::string path;  // in the image, "/etc/inittab"
  mode_t mode;
  std::string content;
};

std::vector<TinyFile> TinyFiles();

}  // namespace umld::guest

#endif  // UMLD_GUEST_TINY_FILES_H_
