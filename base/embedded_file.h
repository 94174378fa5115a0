#ifndef UMLD_BASE_EMBEDDED_FILE_H_
#define UMLD_BASE_EMBEDDED_FILE_H_

#include <sys/types.h>

#include <string>

namespace umld {

// A file that is built into this program (embedded_files.bzl).
struct EmbeddedFile {
  std::string path;  // below the folder that was embedded, beginning with '/'
  mode_t mode;       // 0755 when it begins with "#!", else 0644
  std::string content;
};

}  // namespace umld

#endif  // UMLD_BASE_EMBEDDED_FILE_H_
