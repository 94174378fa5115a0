#ifndef UMLD_IMAGE_FOLDER_READER_H_
#define UMLD_IMAGE_FOLDER_READER_H_

#include <memory>

#include "image/entry.h"

namespace umld::image {

// A folder of the host as a root filesystem: its own filesystem alone (what is mounted in it is an empty folder),
// symbolic links as such, with ownership, hard links, holes and extended attributes. Each file is opened once and
// checked to be the one that was seen. `fd`, of the folder, outlives it. Reads with the permissions of the thread.
std::unique_ptr<EntrySource> FolderSource(int fd);

}  // namespace umld::image

#endif  // UMLD_IMAGE_FOLDER_READER_H_
