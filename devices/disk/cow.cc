#include "devices/disk/cow.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/disk/open_disk.h"

namespace umld::devices {
namespace {

constexpr uint32_t kMagic = 0x4f4f4f4d;  // "OOOM"
constexpr uint32_t kVersion = 3;

// Offsets of the fields of version 3.
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 4;
constexpr size_t kMtimeAt = 8;
constexpr size_t kSizeAt = 12;
constexpr size_t kSectorSizeAt = 20;
constexpr size_t kAlignmentAt = 24;
constexpr size_t kFormatAt = 28;
constexpr size_t kBackingAt = 32;
static_assert(kBackingAt + kMaxCowBackingPath + 1 == kCowHeaderBytes);

// The kernel keeps the data's offset in an int.
constexpr uint64_t kMaxDataOffset = std::numeric_limits<int32_t>::max();

uint32_t Get32(absl::string_view bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return be32toh(value);
}

uint64_t Get64(absl::string_view bytes, size_t at) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return be64toh(value);
}

void Put32(std::string& bytes, size_t at, uint32_t value) {
  value = htobe32(value);
  std::memcpy(bytes.data() + at, &value, sizeof(value));
}

void Put64(std::string& bytes, size_t at, uint64_t value) {
  value = htobe64(value);
  std::memcpy(bytes.data() + at, &value, sizeof(value));
}

uint64_t RoundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

absl::Status BadHeader(absl::string_view reason) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("its COW header ", reason),
                   {"COW_INVALID", "", "restore the COW file, or move it away and let a new one be made"});
}

// The numbers alone; what they say about the backing file is the caller's to compare.
absl::Status CheckNumbers(const CowHeader& header) {
  // The kernel writes and expects 512; anything else shifts the bitmap.
  if (header.sector_size != 512) return BadHeader(absl::StrCat("says ", header.sector_size, " bytes per sector"));
  // An alignment of 0 makes the kernel divide by it.
  bool power_of_two = header.alignment != 0 && (header.alignment & (header.alignment - 1)) == 0;
  if (!power_of_two || header.alignment > (1U << 20)) {
    return BadHeader(absl::StrCat("says alignment ", header.alignment));
  }
  if (header.size == 0) return BadHeader("says that the backing file is empty");
  if (header.size > kMaxDataOffset * 4096 || LayOutCow(header).data_offset > kMaxDataOffset) {
    return BadHeader("is for a backing file too large for UML (8 TiB)");
  }
  if (header.backing.empty() || header.backing[0] != '/') return BadHeader("names no absolute backing file");
  return absl::OkStatus();
}

std::string FolderOf(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status Fill(int fd, const std::string& path, const CowHeader& header) {
  std::string bytes = SerializeCowHeader(header);
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("write ", path));
    done += static_cast<size_t>(n);
  }
  // Zeros that were never written are the empty bitmap.
  if (ftruncate(fd, static_cast<off_t>(LayOutCow(header).file_bytes)) != 0) {
    return ErrnoError(errno, absl::StrCat("size ", path));
  }
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("sync ", path));
  return absl::OkStatus();
}

// Gives the file its final name unless there is one of that name.
int RenameNoReplace(int folder, const std::string& from, const std::string& to) {
  if (renameat2(folder, from.c_str(), folder, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // Some filesystems (NFS) do not know that flag, but know hard links.
  if (linkat(folder, from.c_str(), folder, to.c_str(), 0) != 0) return errno;
  unlinkat(folder, from.c_str(), 0);
  return 0;
}

}  // namespace

bool HasCowMagic(absl::string_view start) {
  if (start.size() < sizeof(kMagic)) return false;
  uint32_t magic = Get32(start, kMagicAt);
  // Version 1 was written in the byte order of its machine.
  return magic == kMagic || magic == be32toh(htole32(kMagic));
}

absl::StatusOr<std::optional<CowHeader>> ParseCowHeader(absl::string_view start) {
  if (!HasCowMagic(start)) return std::nullopt;
  if (start.size() < kBackingAt) return BadHeader("is cut short");
  if (Get32(start, kMagicAt) != kMagic || Get32(start, kVersionAt) != kVersion) {
    return BadHeader("is not of version 3, the only one in use today");
  }
  if (start.size() < kCowHeaderBytes) return BadHeader("is cut short");
  absl::string_view backing = start.substr(kBackingAt, kMaxCowBackingPath + 1);
  size_t length = backing.find('\0');
  if (length == absl::string_view::npos) return BadHeader("has a path without an end");
  CowHeader header;
  header.mtime = Get32(start, kMtimeAt);
  header.size = Get64(start, kSizeAt);
  header.sector_size = Get32(start, kSectorSizeAt);
  header.alignment = Get32(start, kAlignmentAt);
  header.backing = std::string(backing.substr(0, length));
  if (Get32(start, kFormatAt) != 0) return BadHeader("says a format other than the bitmap");
  RETURN_IF_ERROR(CheckNumbers(header));
  return header;
}

std::string SerializeCowHeader(const CowHeader& header) {
  std::string bytes(kCowHeaderBytes, '\0');
  Put32(bytes, kMagicAt, kMagic);
  Put32(bytes, kVersionAt, kVersion);
  Put32(bytes, kMtimeAt, header.mtime);
  Put64(bytes, kSizeAt, header.size);
  Put32(bytes, kSectorSizeAt, header.sector_size);
  Put32(bytes, kAlignmentAt, header.alignment);
  header.backing.copy(bytes.data() + kBackingAt, kMaxCowBackingPath);
  return bytes;
}

CowLayout LayOutCow(const CowHeader& header) {
  CowLayout layout;
  layout.bitmap_offset = RoundUp(kCowHeaderBytes, header.alignment);
  uint64_t sectors = RoundUp(header.size, header.sector_size) / header.sector_size;
  layout.bitmap_bytes = RoundUp(sectors, 8) / 8;
  layout.data_offset = RoundUp(layout.bitmap_offset + layout.bitmap_bytes, header.alignment);
  layout.file_bytes = layout.data_offset + header.size;
  return layout;
}

absl::StatusOr<CowHeader> NewCowHeader(const std::string& backing) {
  if (backing.size() > kMaxCowBackingPath) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the backing file's path is too long for a COW header",
                     {"INVALID_DISK_SPEC", backing, "use a symbolic link with a shorter path"});
  }
  ASSIGN_OR_RETURN(OpenDisk disk, OpenDiskFile(backing, DiskAccess::kRead, /*shared=*/true));
  ASSIGN_OR_RETURN(std::string start, ReadStart(disk, backing, sizeof(kMagic)));
  if (HasCowMagic(start)) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(backing, " is itself a COW file, and UML cannot stack them"),
                     {"COW_ON_COW", backing, "merge it first (uml_moo COW NEW_FILE), and use the result"});
  }
  if (disk.info.st_mtime < 0 || disk.info.st_mtime > std::numeric_limits<uint32_t>::max()) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(backing, " has a modification time that a COW header cannot hold"),
                     {"COW_INVALID", backing, "touch the file"});
  }
  CowHeader header;
  header.mtime = static_cast<uint32_t>(disk.info.st_mtime);
  header.size = disk.size_bytes;
  header.backing = backing;
  RETURN_IF_ERROR(Annotate(CheckNumbers(header), backing));
  return header;
}

absl::Status CreateCow(const std::string& path, const std::string& backing) {
  ASSIGN_OR_RETURN(CowHeader header, NewCowHeader(backing));
  std::string folder = FolderOf(path);
  UniqueFd folder_fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd.ok()) return ErrnoError(errno, absl::StrCat("open folder ", folder));

  unsigned char random[8] = {};
  if (getentropy(random, sizeof(random)) != 0) return ErrnoError(errno, "get random bytes");
  absl::string_view random_bytes(reinterpret_cast<const char*>(random), sizeof(random));
  // Not derived from the name, which may already be as long as a name can be; and within the folder, whose path may be
  // as long as a path can be.
  const std::string temporary = absl::StrCat(kUnfinishedCow, absl::BytesToHexString(random_bytes));
  const std::string name = path.substr(path.rfind('/') + 1);
  UniqueFd fd(openat(folder_fd.get(), temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create a file in ", folder));
  absl::Status status = Fill(fd.get(), path, header);
  if (status.ok()) {
    if (int error = RenameNoReplace(folder_fd.get(), temporary, name); error != 0) {
      status = ErrnoError(error, absl::StrCat("create ", path));
    }
  }
  if (!status.ok()) {
    unlinkat(folder_fd.get(), temporary.c_str(), 0);
    return status;
  }
  if (fsync(folder_fd.get()) != 0) {
    status = ErrnoError(errno, absl::StrCat("sync ", folder));
    unlinkat(folder_fd.get(), name.c_str(), 0);
  }
  return status;
}

absl::Status RebaseCow(const std::string& path, const std::string& backing, bool same_content) {
  ASSIGN_OR_RETURN(OpenDisk disk, OpenDiskFile(path, DiskAccess::kReadWrite, /*shared=*/true));
  ASSIGN_OR_RETURN(const std::string start, ReadStart(disk, path, kCowHeaderBytes));
  const auto old = ParseCowHeader(start);
  if (!old.ok()) return Annotate(old.status(), path);
  if (!old->has_value()) return Annotate(BadHeader("is missing"), path);
  ASSIGN_OR_RETURN(CowHeader header, NewCowHeader(backing));
  if (header.size != (*old)->size || (header.mtime != (*old)->mtime && !same_content)) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        header.size != (*old)->size
            ? absl::StrCat(backing, " has ", header.size, " bytes, and ", path, " was made over ", (*old)->size)
            : absl::StrCat(backing, " was modified since ", path, " was made over it, or is a copy"),
        {"BACKING_DIFFERS", backing,
         header.size != (*old)->size ? "name the file that it was made over"
                                     : "if its content is surely the same: --same-content"});
  }
  header.alignment = (*old)->alignment;
  const std::string bytes = SerializeCowHeader(header);
  if (pwrite(disk.fd.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
      fsync(disk.fd.get()) != 0) {
    return ErrnoError(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

absl::Status SetCowBacking(const std::string& path, const std::string& backing) {
  ASSIGN_OR_RETURN(OpenDisk disk, OpenDiskFile(path, DiskAccess::kReadWrite, /*shared=*/true));
  ASSIGN_OR_RETURN(const std::string start, ReadStart(disk, path, kCowHeaderBytes));
  auto header = ParseCowHeader(start);
  if (!header.ok()) return Annotate(header.status(), path);
  if (!header->has_value()) return Annotate(BadHeader("is missing"), path);
  (*header)->backing = backing;
  const std::string bytes = SerializeCowHeader(**header);
  // One write: the path is its only change, and a reader sees the old or the new one.
  if (pwrite(disk.fd.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
      fsync(disk.fd.get()) != 0) {
    return ErrnoError(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

}  // namespace umld::devices
