#ifndef UMLD_DEVICES_DISK_DISK_INSPECT_H_
#define UMLD_DEVICES_DISK_DISK_INSPECT_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "devices/disk/disk_spec.h"

namespace umld::devices {

// A file beyond its names: hard links and symbolic links of one file are equal, and so are two nodes of one block
// device.
struct FileId {
  dev_t device = 0;  // the number of the device itself when `block_device`
  ino_t inode = 0;
  bool block_device = false;
  friend bool operator==(const FileId&, const FileId&) = default;
};

FileId IdOf(const struct stat& info);

// What a disk's host files are right now.
struct DiskFile {
  FileId path;                    // while `create_cow`: of the folder that it will be made in
  std::string new_name;           // while `create_cow`: its name in that folder
  std::optional<FileId> backing;  // of a COW disk
  // The path in an existing COW file's header. When the backing file is shown to the kernel under another path than
  // this, the kernel writes that path into the header; with flag r it cannot, and the disk does not open.
  std::string header_backing;
  uint64_t size_bytes = 0;  // the guest's capacity, before the kernel rounds it up to 512
  uint64_t file_bytes = 0;  // how long the file at `path` gets when the guest has written all it may
  bool create_cow = false;  // the COW file does not exist yet; CreateCow makes it
  bool writable = false;    // no flag r
  bool shared = false;      // flag c
  bool data = false;        // flag d
  friend bool operator==(const DiskFile&, const DiskFile&) = default;
};

// Checks the host files of a spec as this process's user, and that a UML kernel could use them without hanging or
// dying: they exist, are regular files or block devices, can be read and (without flag r) written, and a COW file's
// header fits its backing file. A bare path whose file has a COW header is refused: the kernel would open whatever
// backing file the header names, and a guest can write that header.
// Blocks on the disk, never on a FIFO, a device or a lock. Nothing stays open, nothing is changed.
// kNotFound, kPermissionDenied, kInvalidArgument (no kind of file for a disk), kFailedPrecondition (COW and backing
// do not fit, or the file is empty).
absl::StatusOr<DiskFile> InspectDisk(const DiskSpec& spec);

// True when the two may not be in use at the same time, be it by two guests or by one: they write to one file (two
// readers, or two with flag c, may share it), or one writes to the other's backing file. Any number of disks may have
// the same backing file. Pure.
bool Conflicts(const DiskFile& a, const DiskFile& b);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_DISK_INSPECT_H_
