#include "devices/disk/grow_disk.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "devices/disk/open_disk.h"

namespace umld::devices {
namespace {

absl::Status Refused(absl::string_view message, const char* reason, const std::string& path, absl::string_view hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message, {reason, path, std::string(hint)});
}

absl::Status TooLarge(const std::string& path, uint64_t size_bytes) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(path, " cannot have ", FormatByteSize(size_bytes), " on its filesystem"),
                   {"DISK_TOO_LARGE", path, "choose a smaller size"});
}

absl::StatusOr<OpenDisk> OpenToGrow(const DiskSpec& spec, uint64_t size_bytes) {
  if (!spec.backing.empty()) {
    return Refused(absl::StrCat(spec.path, " is a COW file: it has the size of its backing file ", spec.backing,
                                " for good, and neither can grow"),
                   "COW_FIXED_SIZE", spec.path,
                   absl::StrCat("merge the two into a file of their own while no guest uses them (uml_moo ", spec.path,
                                " NEW.img), give the guest that one instead, and resize it"));
  }
  if (spec.flags.find('r') != std::string::npos) {
    return Refused(absl::StrCat(spec.path, " is attached read-only"), "READ_ONLY_DISK", spec.path,
                   "plug it without flag r, or grow the file on the host (truncate -s SIZE) and plug it again");
  }
  ASSIGN_OR_RETURN(OpenDisk disk, OpenDiskFile(spec.path, DiskAccess::kReadWrite, /*shared=*/true));
  if (S_ISBLK(disk.info.st_mode)) {
    return Refused(absl::StrCat(spec.path, " is a device of the host, which umld does not resize"), "BLOCK_DEVICE",
                   spec.path,
                   "grow the device itself (lvextend, losetup -c, ...), then unplug the disk and plug it again");
  }
  if (size_bytes < disk.size_bytes) {
    return Refused(absl::StrCat(spec.path, " has ", FormatByteSize(disk.size_bytes), ", and to shrink it to ",
                                FormatByteSize(size_bytes), " would cut off what is stored in the last ",
                                FormatByteSize(disk.size_bytes - size_bytes)),
                   "WOULD_SHRINK", spec.path,
                   "umld never shrinks a disk; make a smaller one (`umlctl disk create`) and copy inside the guest");
  }
  if (size_bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) return TooLarge(spec.path, size_bytes);
  return disk;
}

}  // namespace

absl::StatusOr<uint64_t> CheckGrow(const DiskSpec& spec, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const OpenDisk disk, OpenToGrow(spec, size_bytes));
  return disk.size_bytes;
}

absl::Status GrowDisk(const DiskSpec& spec, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const OpenDisk disk, OpenToGrow(spec, size_bytes));
  if (disk.size_bytes == size_bytes) return absl::OkStatus();
  if (ftruncate(disk.fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno == EFBIG ? TooLarge(spec.path, size_bytes) : ErrnoError(errno, absl::StrCat("grow ", spec.path));
  }
  if (fsync(disk.fd.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", spec.path));
  return absl::OkStatus();
}

}  // namespace umld::devices
