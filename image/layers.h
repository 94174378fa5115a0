#ifndef UMLD_IMAGE_LAYERS_H_
#define UMLD_IMAGE_LAYERS_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "image/entry.h"

namespace umld::image {

// The layers of a container image, lowest first: of an OCI image layout (a folder, or a tar of one) or of what `docker
// save` writes (likewise). Of several platforms linux/amd64 is taken. Layers that are named by a digest are checked
// against it when they are read for the first time. `fd`, of the folder or the tar, outlives them.
// `may_go_on` is asked while they are looked for and read (ReadArchive).
// kInvalidArgument BAD_CONTAINER_IMAGE: something is missing, not as it should be, or there are several images in it.
absl::StatusOr<std::vector<std::unique_ptr<EntrySource>>> FindLayers(int fd, const MayGoOn& may_go_on);

}  // namespace umld::image

#endif  // UMLD_IMAGE_LAYERS_H_
