#include "umld/volume_content.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "image/tool.h"

namespace umld {
namespace {

constexpr uint64_t kPage = 4096;

// Of struct ext2_super_block, at byte 1024.
constexpr off_t kSuperBlock = 1024;
constexpr size_t kBlocksLow = 4, kLogBlockSize = 24, kMagic = 56, kIncompatible = 96, kBlocksHigh = 336;
constexpr size_t kSuperBlockBytes = 1024;
constexpr uint16_t kExtMagic = 0xef53;
constexpr uint32_t kIncompatible64Bit = 0x80, kLargestLogBlockSize = 6;

// Of union swap_header, where a page has 4096 bytes.
constexpr off_t kSwapVersion = 1024, kSwapLastPage = 1028, kSwapMagic = 4086;
constexpr char kSwapMagicText[] = "SWAPSPACE2";

// Nothing that a UML kernel of the last ten years would not mount. The tables and the journal of a new file are holes.
constexpr char kFeatures[] =
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum";

constexpr absl::Duration kLongestWait = absl::Hours(6), kPause = absl::Milliseconds(200);
// e2fsck's exit codes: 1 is "repaired", from 4 on there is something left.
constexpr int kRepaired = 1;

template <typename Number>
Number NumberAt(const char* bytes, size_t offset) {
  Number number;
  std::memcpy(&number, bytes + offset, sizeof(number));
  return number;
}

// What an ext2, ext3 or ext4 filesystem takes of the file; 0: there is none.
uint64_t FilesystemBytes(int fd) {
  char block[kSuperBlockBytes];
  if (pread(fd, block, sizeof(block), kSuperBlock) != static_cast<ssize_t>(sizeof(block))) return 0;
  if (le16toh(NumberAt<uint16_t>(block, kMagic)) != kExtMagic) return 0;
  const uint32_t log_size = le32toh(NumberAt<uint32_t>(block, kLogBlockSize));
  uint64_t blocks = le32toh(NumberAt<uint32_t>(block, kBlocksLow));
  if ((le32toh(NumberAt<uint32_t>(block, kIncompatible)) & kIncompatible64Bit) != 0) {
    blocks |= uint64_t{le32toh(NumberAt<uint32_t>(block, kBlocksHigh))} << 32;
  }
  return log_size > kLargestLogBlockSize ? 0 : blocks << (10 + log_size);
}

absl::Status Lock(int fd, const std::string& path, bool resumed, const image::StepProgress& progress) {
  // Of the open file, not of the process: what we start has it too, and a UML kernel's own conflicts with it.
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  const absl::Time end = absl::Now() + kLongestWait;
  while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return ErrnoError(errno, absl::StrCat("lock ", path));
    if (!resumed || absl::Now() > end) {
      return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is locked: something runs with it"),
                       {"VOLUME_IN_USE", path, "stop what uses it (`fuser -v` names it), and ask again"});
    }
    if (progress) RETURN_IF_ERROR(progress("waiting for what the last umld had begun", 0, 0));
    absl::SleepFor(kPause);
  }
  return absl::OkStatus();
}

absl::Status SetSize(int fd, const std::string& path, uint64_t size_bytes) {
  if (ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
    if (errno != EFBIG) return ErrnoError(errno, absl::StrCat("grow ", path));
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the host's filesystem holds no file of ", HumanByteSize(size_bytes)),
                     {"INVALID_SIZE", path, "choose a smaller size"});
  }
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("sync ", path));
  return absl::OkStatus();
}

absl::Status RunOn(int fd, const std::string& path, const char* name, const std::vector<std::string>& words, int fine,
                   const std::string& what, const image::StepProgress& progress) {
  image::Tool tool;
  ASSIGN_OR_RETURN(const std::string program, image::FindTool(name, "e2fsprogs"));
  tool.argv = {program};
  tool.argv.insert(tool.argv.end(), words.begin(), words.end());
  tool.argv.push_back(path);
  tool.fds = {{3, fd}};
  tool.fine = fine;
  return image::RunTool(tool, [&](absl::string_view) { return progress ? progress(what, 0, 0) : absl::OkStatus(); })
      .status();
}

absl::Status Check(int fd, const std::string& path, const char* how, const image::StepProgress& progress) {
  absl::Status status = RunOn(fd, path, "e2fsck", {"-f", how}, kRepaired, "checking the filesystem on it", progress);
  if (GetErrorDetail(status).reason != "TOOL_FAILED") return status;
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("the filesystem on it has errors: ", status.message()),
                   {"VOLUME_DAMAGED", path, "attach it to a guest, and there run e2fsck on it by hand"});
}

absl::Status GrowFilesystem(int fd, const std::string& path, bool resumed, const image::StepProgress& progress) {
  // Growing that was cut off leaves counts that are wrong, which is nothing that a person could decide about.
  RETURN_IF_ERROR(Check(fd, path, resumed ? "-y" : "-p", progress));
  // Cut off by nobody: it takes a moment, and would leave more to repair.
  absl::Status grown = RunOn(fd, path, "resize2fs", {}, 0, "growing the filesystem on it",
                             [&](const std::string& what, uint64_t done, uint64_t total) {
                               if (progress) progress(what, done, total).IgnoreError();
                               return absl::OkStatus();
                             });
  if (grown.ok()) return fsync(fd) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", path));
  if (absl::Status repaired = Check(fd, path, "-y", nullptr); !repaired.ok())
    return Annotate(repaired, grown.message());
  return grown;
}

// The rest of the header, with label and UUID, stays; four bytes are written at once or not at all.
absl::Status GrowSwap(int fd, const std::string& path, uint64_t size_bytes) {
  const uint64_t pages = size_bytes / kPage;
  const uint32_t last = static_cast<uint32_t>(std::min<uint64_t>(pages - 1, UINT32_MAX - 1));
  const uint32_t stored = htole32(last);
  if (pwrite(fd, &stored, sizeof(stored), kSwapLastPage) != static_cast<ssize_t>(sizeof(stored)) || fsync(fd) != 0) {
    return ErrnoError(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

}  // namespace

UniqueFd OpenVolumeFile(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

v1::VolumeFormat DetectVolumeFormat(int fd) {
  if (FilesystemBytes(fd) != 0) return v1::VOLUME_EXT4;
  char magic[sizeof(kSwapMagicText) - 1];
  uint32_t version = 0;
  const bool read = pread(fd, magic, sizeof(magic), kSwapMagic) == static_cast<ssize_t>(sizeof(magic)) &&
                    pread(fd, &version, sizeof(version), kSwapVersion) == static_cast<ssize_t>(sizeof(version));
  const bool is_swap = read && std::memcmp(magic, kSwapMagicText, sizeof(magic)) == 0 && le32toh(version) == 1;
  return is_swap ? v1::VOLUME_SWAP : v1::VOLUME_FORMAT_UNSPECIFIED;
}

absl::Status FormatVolume(const std::string& path, v1::VolumeFormat format) {
  image::Tool tool;
  if (format == v1::VOLUME_EXT4) {
    ASSIGN_OR_RETURN(const std::string mke2fs, image::FindTool("mke2fs", "e2fsprogs"));
    // Tables that are left to the guest would be written by it, into a file that need not have them.
    tool.argv = {mke2fs,
                 "-q",
                 "-F",
                 "-t",
                 "ext4",
                 "-O",
                 kFeatures,
                 "-b",
                 absl::StrCat(kPage),
                 "-I",
                 "256",
                 "-E",
                 "lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0",
                 path};
    tool.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "MKE2FS_CONFIG=/dev/null"};
  } else if (format == v1::VOLUME_SWAP) {
    ASSIGN_OR_RETURN(const std::string mkswap, image::FindTool("mkswap", "util-linux"));
    tool.argv = {mkswap, "-p", absl::StrCat(kPage), path};
  } else {
    return absl::OkStatus();
  }
  return image::RunTool(tool, nullptr).status();
}

absl::Status GrowVolume(const std::string& path, const GrowVolumeOptions& options,
                        const image::StepProgress& progress) {
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  RETURN_IF_ERROR(Lock(fd.get(), path, options.resumed, progress));
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) return ErrnoError(errno, path);
  absl::Status status;
  if (static_cast<uint64_t>(info.st_size) < options.size_bytes) status = SetSize(fd.get(), path, options.size_bytes);
  if (status.ok()) {
    const v1::VolumeFormat format = DetectVolumeFormat(fd.get());
    if (format == v1::VOLUME_EXT4) status = GrowFilesystem(fd.get(), path, options.resumed, progress);
    if (format == v1::VOLUME_SWAP) status = GrowSwap(fd.get(), path, options.size_bytes);
  }
  if (!status.ok() && FilesystemBytes(fd.get()) <= options.old_bytes) {
    SetSize(fd.get(), path, options.old_bytes).IgnoreError();
  }
  return status;
}

}  // namespace umld
