#ifndef UMLD_IMAGE_IMPORT_H_
#define UMLD_IMAGE_IMPORT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "image/entry.h"

namespace umld::image {

enum class Format { kRaw, kQcow2, kTar, kFolder, kOci, kDocker };

// For people: "a tar of a root filesystem".
std::string FormatText(Format format);

// What an open file, block device or folder is, told from its first bytes (or, of an archive, its first name).
// kInvalidArgument UNKNOWN_FORMAT: it is none that can become an image; the error names what it is, if that is known.
absl::StatusOr<Format> DetectFormat(int fd);

struct ImportOptions {
  Format format = Format::kRaw;
  uint64_t size_bytes = 0;  // of the filesystem that is made; 0: what is in it and as much again, at least 1 GiB
  // A private copy of the source is needed (qcow2): an empty file beside the output.
  std::function<absl::StatusOr<std::string>()> scratch;
  // What is made is never read through a COW file: filesystems with blocks of less than 4 KiB will do.
  bool small_blocks = false;
  // Runs what opens files below a source that is a folder, with the permissions of whoever owns the request. Empty:
  // with those of the thread.
  std::function<absl::Status(const std::function<absl::Status()>&)> as_reader;
};

// Makes an image of what `source` is, in the empty file `output`. Reads the source twice where it becomes a filesystem:
// once for what is in it, once for the contents. `output` is no image before this returns OK. Any thread; blocks.
// kInvalidArgument: BAD_ARCHIVE, BAD_ENTRY, BAD_CONTAINER_IMAGE, BAD_QCOW2, SMALL_BLOCKS, EMPTY_SOURCE, DOES_NOT_FIT,
// ... kResourceExhausted: the disk is full. kAborted SOURCE_CHANGED.
absl::Status Import(int source, const std::string& output, const ImportOptions& options, const StepProgress& progress);

// The part of it that makes a filesystem of entries. `layered`: .wh. names remove what is in lower layers.
absl::Status ImportTree(const std::vector<std::unique_ptr<EntrySource>>& layers, bool layered,
                        const std::string& output, uint64_t size_bytes, const StepProgress& progress);

}  // namespace umld::image

#endif  // UMLD_IMAGE_IMPORT_H_
