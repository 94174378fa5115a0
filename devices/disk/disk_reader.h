#ifndef UMLD_DEVICES_DISK_DISK_READER_H_
#define UMLD_DEVICES_DISK_DISK_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"

namespace umld::devices {

// The bytes of a disk as its guest sees them: through the COW file where there is one, and with the zeros that fill up
// the last sector. What a running guest has not written out yet is not there.
// Thread: one at a time. Blocks on the disk; never on a FIFO, a lock or a device that the host uses.
class DiskReader {
 public:
  // Opens for reading alone. Errors as OpenDiskFile; kFailedPrecondition: the COW file is none, or was made over a
  // backing file of another size. A COW file that does not exist yet is a disk like its backing file.
  static absl::StatusOr<DiskReader> Open(const DiskSpec& spec);

  // Of the file that gives the disk its size: the backing file, where there is one.
  uint64_t file_bytes() const { return file_bytes_; }
  // As the guest counts: whole sectors of 512.
  uint64_t size_bytes() const { return RoundUpToSector(file_bytes_); }

  // Fewer than `size` bytes at the end of the disk. `size` is bounded by the caller. Errors as ErrnoError.
  absl::StatusOr<std::string> Read(uint64_t offset, size_t size) const;

 private:
  DiskReader() = default;
  absl::StatusOr<bool> IsInCow(uint64_t sector) const;

  std::string path_, backing_path_;
  std::optional<OpenDisk> file_;     // or the COW file; none while the COW file is not made
  std::optional<OpenDisk> backing_;  // of a COW disk
  CowLayout layout_;
  uint64_t file_bytes_ = 0;
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_DISK_READER_H_
