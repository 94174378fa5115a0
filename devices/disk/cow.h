#ifndef UMLD_DEVICES_DISK_COW_H_
#define UMLD_DEVICES_DISK_COW_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::devices {

// UML's copy-on-write file, version 3: header, bitmap (one bit per sector that has been written), data at the same
// offsets as in the backing file. All numbers on disk are big-endian.

// Bytes to read from the start of a file to parse its header.
inline constexpr size_t kCowHeaderBytes = 4128;
// The longest backing path that a header can hold.
inline constexpr size_t kMaxCowBackingPath = 4095;

struct CowHeader {
  uint32_t mtime = 0;  // the backing file's, in seconds; the kernel refuses the COW when they differ
  uint64_t size = 0;   // the backing file's, in bytes; the same
  uint32_t sector_size = 512;
  uint32_t alignment = 4096;  // of bitmap and data
  std::string backing;        // absolute
};

// Offsets and lengths in bytes.
struct CowLayout {
  uint64_t bitmap_offset = 0;
  uint64_t bitmap_bytes = 0;
  uint64_t data_offset = 0;
  uint64_t file_bytes = 0;  // with all data; the file is sparse
};

// Whether a file that begins with these bytes (4 are enough) is a COW file of any version to the kernel.
bool HasCowMagic(absl::string_view start);

// From the first kCowHeaderBytes of a file; nullopt: not a COW file. kFailedPrecondition: a COW file that must not
// reach a kernel, because of its version or because its numbers make no sense. Pure.
absl::StatusOr<std::optional<CowHeader>> ParseCowHeader(absl::string_view start);
// The kCowHeaderBytes that ParseCowHeader reads. `header.backing` is at most kMaxCowBackingPath long.
std::string SerializeCowHeader(const CowHeader& header);

// Where things are. The header is one that ParseCowHeader gave or could give. Pure.
CowLayout LayOutCow(const CowHeader& header);

// The header of a new COW file of `backing`, read from that file. The errors are those of CreateCow about it.
absl::StatusOr<CowHeader> NewCowHeader(const std::string& backing);

// How the files begin that CreateCow works in; one is left behind when the process is killed.
inline constexpr char kUnfinishedCow[] = ".new-cow-";

// Makes an empty COW file of `backing` at `path`, both absolute, mode 0644 less the umask: in one step (it is there
// complete and synced, or not at all), never over a file that exists, in constant time and with almost no blocks.
// Blocks on the disk. kAlreadyExists: `path` is there. kNotFound, kPermissionDenied, kResourceExhausted from the host.
// kFailedPrecondition: the backing file is empty or itself a COW file. kInvalidArgument: no kind of file for a disk.
absl::Status CreateCow(const std::string& path, const std::string& backing);

// Writes another backing path, which leads to the same file, into an existing COW file's header, and syncs it.
// kFailedPrecondition: no COW file. Blocks on the disk.
absl::Status SetCowBacking(const std::string& path, const std::string& backing);

// Makes `backing` the backing file of an existing COW file: path and time. The file's content must be what it was,
// which its size and time say; `same_content`: its size alone. kFailedPrecondition: no COW file, or BACKING_DIFFERS.
// Blocks.
absl::Status RebaseCow(const std::string& path, const std::string& backing, bool same_content);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_COW_H_
