#ifndef UMLD_GUEST_GUEST_FILE_H_
#define UMLD_GUEST_GUEST_FILE_H_

#include <sys/types.h>

#include <string>

namespace umld::guest {

// A file of an image that is built into this program.
struct GuestFile {
  std::string path;  // in the image, "/etc/inittab"
  mode_t mode;
  std::string content;
};

}  // namespace umld::guest

#endif  // UMLD_GUEST_GUEST_FILE_H_
