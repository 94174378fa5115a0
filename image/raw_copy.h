#ifndef UMLD_IMAGE_RAW_COPY_H_
#define UMLD_IMAGE_RAW_COPY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "image/entry.h"

namespace umld::image {

// Copies a file or block device into an empty file: by sharing its blocks where the filesystem can, else hole by hole,
// and what is all zeros becomes a hole. The end is filled up to whole sectors (512). kInvalidArgument EMPTY_SOURCE.
absl::Status CopyRaw(int from, int to, const StepProgress& progress);

// Converts a qcow2 image, with qemu-img. `from` is a file that nobody else can change: it is looked at first, and one
// that refers to any other file (backing file, data file), is encrypted, damaged or larger than 8 TiB is refused
// (kInvalidArgument BAD_QCOW2). `to` is an empty file.
absl::Status ConvertQcow2(int from, int to, const StepProgress& progress);
// The same the other way round, compressed.
absl::Status WriteQcow2(int from, int to, const StepProgress& progress);

}  // namespace umld::image

#endif  // UMLD_IMAGE_RAW_COPY_H_
