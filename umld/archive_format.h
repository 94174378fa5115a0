#ifndef UMLD_UMLD_ARCHIVE_FORMAT_H_
#define UMLD_UMLD_ARCHIVE_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace umld {

// How a guest's archive is laid out: a tar (POSIX.1-2001 with pax headers) whose disks and images are sparse members of
// GNU's format 1.0, so that tar lists and unpacks it. docs/guest-archive.md.

inline constexpr uint32_t kArchiveFormat = 1;
inline constexpr char kManifestFile[] = "guest.json", kChecksumsFile[] = "checksums.json";
inline constexpr size_t kTarBlock = 512;
// Of what is read whole: the two JSON members.
inline constexpr size_t kMaxDocument = 1 << 20;
// Of a file: 8 TiB, UML's most for a COW file, and room for that file's own tables.
inline constexpr uint64_t kMaxArchivedFile = (uint64_t{1} << 43) + (uint64_t{1} << 40);
inline constexpr size_t kMaxExtents = 1 << 20;

// A part of a file that is no hole.
struct Extent {
  uint64_t offset = 0;
  uint64_t size = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};

// What follows `size` bytes up to the next whole block.
inline uint64_t TarPadding(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

// One block: the header of a plain member.
std::string TarHeader(absl::string_view name, uint64_t size, int64_t time, char type);
// The blocks before a sparse member of `stored` bytes: its map and its extents.
std::string SparseTarHeader(absl::string_view name, uint64_t real_size, uint64_t stored, int64_t time);
// What a sparse member begins with, in whole blocks. An empty extent at the end says the size to tar.
std::string SparseMap(const std::vector<Extent>& extents, uint64_t real_size);

// What one block says. `name` and `size` as they stand there.
struct TarBlock {
  std::string name;
  uint64_t size = 0;
  char type = 0;
};
// False: no header of ours, or damaged.
bool ParseTarBlock(absl::string_view block, TarBlock* parsed);

}  // namespace umld

#endif  // UMLD_UMLD_ARCHIVE_FORMAT_H_
