#ifndef UMLD_UMLD_VOLUME_CONTENT_H_
#define UMLD_UMLD_VOLUME_CONTENT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "image/entry.h"
#include "umld/v1/volumes.pb.h"

namespace umld {

// Open for reading, never through a link. Not ok(): errno says why.
UniqueFd OpenVolumeFile(const std::string& path);

// Told from a few bytes of the file, which a guest may have written. Unspecified: neither, or it cannot be read.
v1::VolumeFormat DetectVolumeFormat(int fd);

// Puts a filesystem or a swap area on the whole of an empty file. kResourceExhausted; kFailedPrecondition TOOL_MISSING.
absl::Status FormatVolume(const std::string& path, v1::VolumeFormat format);

struct GrowVolumeOptions {
  uint64_t old_bytes = 0;  // what it had before anybody began
  uint64_t size_bytes = 0;
  // An earlier umld began: what it started may still be at work, and is waited for; what it left half done is repaired.
  bool resumed = false;
};
// Makes a volume's file larger, and the ext2, ext3 or ext4 filesystem or swap area on it. Holds the file's lock (the
// one that UML kernels take), and so do the programs that it starts: nobody else writes to it before they have ended,
// whatever becomes of us. May be repeated. On failure the file has its old size again, unless the filesystem has grown
// already. Blocks.
// kFailedPrecondition VOLUME_IN_USE: a kernel has the lock; VOLUME_DAMAGED: e2fsck would have to ask a person, nothing
// was changed. kResourceExhausted; kInvalidArgument: the host's filesystem holds no such file.
absl::Status GrowVolume(const std::string& path, const GrowVolumeOptions& options, const image::StepProgress& progress);

}  // namespace umld

#endif  // UMLD_UMLD_VOLUME_CONTENT_H_
