#include "devices/disk/disk_inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/host_path.h"
#include "base/status.h"
#include "devices/disk/cow.h"
#include "devices/disk/open_disk.h"

namespace umld::devices {

FileId IdOf(const struct stat& info) {
  if (S_ISBLK(info.st_mode)) return {.device = info.st_rdev, .inode = 0, .block_device = true};
  return {.device = info.st_dev, .inode = info.st_ino, .block_device = false};
}

namespace {

std::string Moment(int64_t seconds) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixSeconds(seconds), absl::UTCTimeZone());
}

absl::Status CowError(absl::string_view message, const std::string& path, absl::string_view hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message, {"COW_MISMATCH", path, std::string(hint)});
}

absl::Status CheckRaw(const DiskSpec& spec, const OpenDisk& disk) {
  if (spec.flags.find('d') != std::string::npos) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string start, ReadStart(disk, spec.path, kCowHeaderBytes));
  if (!HasCowMagic(start)) return absl::OkStatus();
  DiskSpec with_backing = spec, as_data = spec;
  with_backing.backing = "BACKING";
  as_data.flags += 'd';
  return CowError(
      absl::StrCat(spec.path, " is a COW file, and its backing file is not named"), spec.path,
      absl::StrCat("write ", PrintDiskSpec(with_backing), " with the file it was made over; ", PrintDiskSpec(as_data),
                   " takes its bytes as they are, should a guest have written them"));
}

// A COW file that does not exist is made when the disk is plugged.
absl::Status CheckCanCreate(const DiskSpec& spec, DiskFile* file) {
  struct stat info = {};
  if (lstat(spec.path.c_str(), &info) == 0) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat(spec.path, " is a symbolic link to nothing"),
                     {"FILE_NOT_FOUND", spec.path, "remove the link, or make the file that it leads to"});
  }
  if (!file->writable) {
    return MakeError(absl::StatusCode::kNotFound,
                     absl::StrCat(spec.path, " does not exist, and a read-only disk cannot make it"),
                     {"FILE_NOT_FOUND", spec.path, "leave out flag r, or attach the backing file itself"});
  }
  size_t slash = spec.path.rfind('/');
  std::string folder = slash == 0 ? "/" : spec.path.substr(0, slash);
  file->new_name = spec.path.substr(slash + 1);
  if (file->new_name.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(spec.path, " names a folder, not a file"),
                     {"INVALID_DISK_SPEC", spec.path, "leave out the last '/'"});
  }
  int error = StatHostPath(folder, &info) ? 0 : errno;
  if (error == 0 && !S_ISDIR(info.st_mode)) error = ENOTDIR;
  if (error != 0) {
    if (error != ENOENT && error != ENOTDIR) return ErrnoError(error, absl::StrCat("stat ", folder));
    return MakeError(absl::StatusCode::kNotFound,
                     absl::StrCat("the folder for the new COW file, ", folder, ", does not exist"),
                     {"FILE_NOT_FOUND", folder, absl::StrCat("mkdir -p ", folder)});
  }
  if (faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return ErrnoError(errno, absl::StrCat("make a COW file in ", folder));
  }
  file->path = IdOf(info);
  file->create_cow = true;
  return absl::OkStatus();
}

// The header's path may be out of date (the files were moved together), never another file's. Whoever writes to the
// file may have chosen it: it is looked at and never opened, and nobody is told to use it.
absl::Status CheckSameBacking(const DiskSpec& spec, const CowHeader& header, const OpenDisk& backing) {
  struct stat info = {};
  if (header.backing == spec.backing || !StatHostPath(header.backing, &info)) return absl::OkStatus();
  if (IdOf(info) == IdOf(backing.info)) return absl::OkStatus();
  return CowError(absl::StrCat(spec.path, " is a COW file of ", header.backing, ", not of ", spec.backing), spec.path,
                  "name the file that it was made over, which a guest that writes to the COW file may have changed in "
                  "it; or name a new COW file");
}

absl::Status CheckHeader(const DiskSpec& spec, const CowHeader& header, const OpenDisk& cow, const OpenDisk& backing) {
  RETURN_IF_ERROR(CheckSameBacking(spec, header, backing));
  if (header.size != backing.size_bytes) {
    return CowError(absl::StrCat(spec.path, " was made when ", spec.backing, " had ", header.size,
                                 " bytes; now it has ", backing.size_bytes),
                    spec.path, absl::StrCat("restore ", spec.backing, " as it was, or start with a new COW file"));
  }
  if (int64_t{header.mtime} != backing.info.st_mtime) {
    return CowError(absl::StrCat(spec.backing, " was modified ", Moment(backing.info.st_mtime), ", but ", spec.path,
                                 " belongs to its state of ", Moment(header.mtime)),
                    spec.path,
                    absl::StrCat("restore ", spec.backing, "; if its content is surely the same: touch -d @",
                                 header.mtime, " ", spec.backing, "; else start with a new COW file"));
  }
  CowLayout layout = LayOutCow(header);
  if (cow.size_bytes < layout.bitmap_offset + layout.bitmap_bytes) {
    return CowError(absl::StrCat(spec.path, " is cut short within its bitmap"), spec.path,
                    "restore it, or start with a new COW file");
  }
  return absl::OkStatus();
}

absl::Status InspectExistingCow(const DiskSpec& spec, const OpenDisk& cow, const OpenDisk& backing, DiskFile* file) {
  file->path = IdOf(cow.info);
  if (file->path == *file->backing) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(spec.path, " and its backing file ", spec.backing, " are one file"),
                     {"INVALID_DISK_SPEC", spec.path, "name a new file for the COW"});
  }
  ASSIGN_OR_RETURN(std::string start, ReadStart(cow, spec.path, kCowHeaderBytes));
  auto header = ParseCowHeader(start);
  if (!header.ok()) return Annotate(header.status(), spec.path);
  if (!header->has_value()) {
    return CowError(absl::StrCat(spec.path, " exists and is not a COW file"), spec.path,
                    "name a file that does not exist yet, or a COW file; leave out the backing file for a plain disk");
  }
  file->header_backing = (*header)->backing;
  RETURN_IF_ERROR(CheckHeader(spec, **header, cow, backing));
  file->file_bytes = std::max(cow.size_bytes, RoundUpToSector(LayOutCow(**header).file_bytes));
  return absl::OkStatus();
}

absl::Status InspectCow(const DiskSpec& spec, DiskAccess access, DiskFile* file) {
  ASSIGN_OR_RETURN(OpenDisk backing, OpenDiskFile(spec.backing, DiskAccess::kRead, file->shared));
  file->backing = IdOf(backing.info);
  file->size_bytes = backing.size_bytes;
  // Also what CreateCow asks of a backing file, so that a disk which passes here can be made.
  RETURN_IF_ERROR(NewCowHeader(spec.backing).status());
  auto cow = OpenDiskFile(spec.path, access, file->shared);
  if (cow.ok()) return InspectExistingCow(spec, *cow, backing, file);
  if (absl::IsNotFound(cow.status())) return CheckCanCreate(spec, file);
  return cow.status();
}

bool SameFile(const DiskFile& a, const DiskFile& b) {
  return a.create_cow == b.create_cow && a.path == b.path && a.new_name == b.new_name;
}

bool WritesToBackingOf(const DiskFile& writer, const DiskFile& other) {
  return writer.writable && !writer.create_cow && other.backing == writer.path;
}

}  // namespace

absl::StatusOr<DiskFile> InspectDisk(const DiskSpec& spec) {
  RETURN_IF_ERROR(CheckDiskSpec(spec));
  DiskFile file;
  file.writable = spec.flags.find('r') == std::string::npos;
  file.shared = spec.flags.find('c') != std::string::npos;
  file.data = spec.flags.find('d') != std::string::npos;
  DiskAccess access = file.writable ? DiskAccess::kReadWrite : DiskAccess::kRead;
  if (!spec.backing.empty()) {
    RETURN_IF_ERROR(InspectCow(spec, access, &file));
    return file;
  }
  ASSIGN_OR_RETURN(OpenDisk disk, OpenDiskFile(spec.path, access, file.shared));
  RETURN_IF_ERROR(CheckRaw(spec, disk));
  file.path = IdOf(disk.info);
  file.size_bytes = disk.size_bytes;
  file.file_bytes = RoundUpToSector(disk.size_bytes);
  if (file.data) {
    // The kernel takes the size from the backing file that the header names, flag d or not.
    ASSIGN_OR_RETURN(const std::string start, ReadStart(disk, spec.path, kCowHeaderBytes));
    auto header = ParseCowHeader(start);
    struct stat info = {};
    if (header.ok() && header->has_value()) {
      const bool known = StatHostPath((*header)->backing, &info) && S_ISREG(info.st_mode);
      file.size_bytes = known ? static_cast<uint64_t>(info.st_size) : 0;
    }
  }
  return file;
}

bool Conflicts(const DiskFile& a, const DiskFile& b) {
  if (WritesToBackingOf(a, b) || WritesToBackingOf(b, a)) return true;
  return SameFile(a, b) && (a.writable || b.writable) && !(a.shared && b.shared);
}

}  // namespace umld::devices
