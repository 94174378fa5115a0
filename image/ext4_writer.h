#ifndef UMLD_IMAGE_EXT4_WRITER_H_
#define UMLD_IMAGE_EXT4_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "image/entry.h"
#include "image/tree.h"

namespace umld::image {

// How large a filesystem has to be, and what tells it from others.
struct Ext4Plan {
  uint64_t size_bytes = 0;   // 0: what is needed, and as much again, at least 1 GiB
  uint64_t data_blocks = 0;  // of 4 KiB, of all files' contents
  uint64_t pieces = 0;       // they come in so many
  std::string uuid;          // as text
  int64_t time = 0;          // of its making, in seconds: the same tree at the same time is the same bytes
};

// Writes a tree as an ext4 filesystem into a file, with libext2fs: no root, no mount, nothing extracted on the host.
// First everything but the contents of files, then those, in any order, each at most once. Thread: one. Blocks.
class Ext4Writer {
 public:
  static constexpr uint32_t kBlock = 4096;

  // Makes the filesystem in the file `path` (with mke2fs), and writes folders, links and device nodes. The nodes get
  // their inode numbers. kInvalidArgument DOES_NOT_FIT: into the size that was asked for. kFailedPrecondition: mke2fs
  // is missing. kResourceExhausted: the host's disk is full.
  static absl::StatusOr<std::unique_ptr<Ext4Writer>> Create(const std::string& path, const Tree& tree,
                                                            const Ext4Plan& plan);
  virtual ~Ext4Writer() = default;

  // The content of a regular file of the tree; blocks of zeros become holes.
  virtual absl::Status WriteContent(const Node& node, EntryData& data) = 0;
  // Writes what is still in memory. The file is a filesystem only after that.
  virtual absl::Status Finish() = 0;
};

}  // namespace umld::image

#endif  // UMLD_IMAGE_EXT4_WRITER_H_
