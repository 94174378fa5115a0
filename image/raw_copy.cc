#include "image/raw_copy.h"

#include <endian.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "image/tool.h"

namespace umld::image {
namespace {

constexpr uint64_t kSector = 512, kBlock = 4096, kLargest = uint64_t{1} << 43;
constexpr size_t kChunk = 1 << 20;
// qemu-img's tables for a whole disk are some 10 MiB; a file may be made that asks for all the host has.
constexpr uint64_t kMostMemory = uint64_t{1} << 30;

absl::Status WriteAt(int fd, absl::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, "write the image");
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

// Without the blocks that are all zeros.
absl::Status WriteSparse(int fd, absl::string_view bytes, uint64_t offset) {
  const auto is_zero = [](absl::string_view block) {
    return block[0] == '\0' && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
  };
  size_t begin = 0, at = 0;
  while (at < bytes.size()) {
    const size_t length = std::min<size_t>(kBlock - (offset + at) % kBlock, bytes.size() - at);
    if (is_zero(bytes.substr(at, length))) {
      RETURN_IF_ERROR(WriteAt(fd, bytes.substr(begin, at - begin), offset + begin));
      begin = at + length;
    }
    at += length;
  }
  return WriteAt(fd, bytes.substr(begin), offset + begin);
}

absl::Status BadQcow2(absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("the qcow2 image ", why),
                   {"BAD_QCOW2", "", "make it whole first: qemu-img convert -O qcow2 OLD NEW"});
}

// What umld lets qemu-img see. The format: docs/interop/qcow2.txt of QEMU.
absl::Status CheckQcow2(int fd) {
  struct Header {
    uint32_t magic, version;
    uint64_t backing_offset;
    uint32_t backing_size, cluster_bits;
    uint64_t size;
    uint32_t crypt_method, l1_size;
    uint64_t l1_offset, refcount_offset;
    uint32_t refcount_clusters, snapshots;
    uint64_t snapshots_offset, incompatible;
  } __attribute__((packed));
  Header header = {};
  const ssize_t got = pread(fd, &header, sizeof(header), 0);
  constexpr ssize_t kVersion2Bytes = 72;
  if (got < kVersion2Bytes || be32toh(header.magic) != 0x514649fb) return BadQcow2("is none, or is cut short");
  const uint32_t version = be32toh(header.version);
  if (version != 2 && version != 3) return BadQcow2(absl::StrCat("is of version ", version, ", which is unknown"));
  if (header.backing_offset != 0) return BadQcow2("lies over a backing file, which umld does not read");
  if (header.crypt_method != 0) return BadQcow2("is encrypted");
  const uint64_t size = be64toh(header.size);
  if (size == 0 || size > kLargest) return BadQcow2(absl::StrCat("is for a disk of ", HumanByteSize(size)));
  if (version == 2) return absl::OkStatus();
  if (got < static_cast<ssize_t>(sizeof(header))) return BadQcow2("is cut short");
  constexpr uint64_t kDirty = 1, kCorrupt = 2, kDataFile = 4, kCompression = 8, kExtendedL2 = 16;
  const uint64_t incompatible = be64toh(header.incompatible);
  if ((incompatible & kDataFile) != 0) return BadQcow2("has its data in another file, which umld does not read");
  if ((incompatible & kCorrupt) != 0) return BadQcow2("says of itself that it is corrupt");
  if ((incompatible & ~(kDirty | kCompression | kExtendedL2)) != 0) return BadQcow2("needs what umld does not know");
  return absl::OkStatus();
}

// qemu-img's own words about a file are about what is wrong with it.
absl::Status AboutQcow2(const absl::Status& status) {
  if (GetErrorDetail(status).reason != "TOOL_FAILED") return status;
  return MakeError(absl::StatusCode::kInvalidArgument, status.message(),
                   {"BAD_QCOW2", GetErrorDetail(status).subject, "`qemu-img check` says more about the file"});
}

absl::Status Convert(std::vector<std::string> argv, int from, int to, uint64_t total, const StepProgress& progress) {
  Tool tool;
  ASSIGN_OR_RETURN(const std::string program, FindTool("qemu-img", "qemu-utils"));
  argv.insert(argv.begin(), {program, "convert", "-p"});
  tool.argv = std::move(argv);
  tool.fds = {{3, from}, {4, to}};
  tool.memory_bytes = kMostMemory;
  // "    (12.50/100%)\r", again and again.
  double percent = 0;
  const absl::StatusOr<std::string> said = RunTool(tool, [&](absl::string_view text) -> absl::Status {
    for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar("(\r\n "), absl::SkipEmpty())) {
      double value = 0;
      if (absl::ConsumeSuffix(&word, "/100%)") && absl::SimpleAtod(word, &value))
        percent = std::clamp(value, 0.0, 100.0);
    }
    if (!progress) return absl::OkStatus();
    return progress("converting", static_cast<uint64_t>(percent / 100 * static_cast<double>(total)), total);
  });
  return AboutQcow2(said.status());
}

}  // namespace

absl::Status CopyRaw(int from, int to, const StepProgress& progress) {
  struct stat info = {};
  if (fstat(from, &info) != 0) return ErrnoError(errno, "read the source");
  const off_t end = lseek(from, 0, SEEK_END);
  if (end < 0) return ErrnoError(errno, "size the source");
  if (end == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the source is empty",
                     {"EMPTY_SOURCE", "", "give a file with a filesystem in it"});
  }
  const uint64_t size = static_cast<uint64_t>(end);
  const uint64_t whole = (size + kSector - 1) / kSector * kSector;
  if (S_ISREG(info.st_mode) && ioctl(to, FICLONE, from) == 0) {
    if (ftruncate(to, static_cast<off_t>(whole)) != 0) return ErrnoError(errno, "size the image");
    return absl::OkStatus();
  }
  if (ftruncate(to, static_cast<off_t>(whole)) != 0) return ErrnoError(errno, "size the image");
  std::vector<char> buffer(kChunk);
  uint64_t at = 0, data_end = 0;
  while (at < size) {
    if (progress) RETURN_IF_ERROR(progress("copying", at, size));
    if (at >= data_end) {
      const off_t begin = lseek(from, static_cast<off_t>(at), SEEK_DATA);
      if (begin < 0 && errno == ENXIO) break;
      if (begin >= 0) at = static_cast<uint64_t>(begin);
      const off_t hole = lseek(from, static_cast<off_t>(at), SEEK_HOLE);
      data_end = hole < 0 ? size : std::min(static_cast<uint64_t>(hole), size);
      continue;
    }
    const ssize_t got =
        pread(from, buffer.data(), std::min<uint64_t>(buffer.size(), data_end - at), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read the source");
    if (got == 0) {
      return MakeError(absl::StatusCode::kAborted, "the source became shorter while it was read",
                       {"SOURCE_CHANGED", "", "import it when nobody writes to it"});
    }
    RETURN_IF_ERROR(WriteSparse(to, {buffer.data(), static_cast<size_t>(got)}, at));
    at += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::Status ConvertQcow2(int from, int to, const StepProgress& progress) {
  RETURN_IF_ERROR(CheckQcow2(from));
  // What lies behind the end of a file that was cut short would be read as zeros.
  Tool check;
  ASSIGN_OR_RETURN(const std::string program, FindTool("qemu-img", "qemu-utils"));
  check.argv = {program, "check", "-q", "-f", "qcow2", "/dev/fd/3"};
  check.fds = {{3, from}};
  check.fine = 3;  // clusters that nobody uses
  check.memory_bytes = kMostMemory;
  RETURN_IF_ERROR(AboutQcow2(RunTool(check, [&](absl::string_view) {
                               return progress ? progress("checking", 0, 0) : absl::OkStatus();
                             }).status()));
  struct stat info = {};
  fstat(from, &info);
  return Convert({"-f", "qcow2", "-O", "raw", "/dev/fd/3", "/dev/fd/4"}, from, to, static_cast<uint64_t>(info.st_size),
                 progress);
}

absl::Status WriteQcow2(int from, int to, const StepProgress& progress) {
  struct stat info = {};
  fstat(from, &info);
  return Convert({"-c", "-f", "raw", "-O", "qcow2", "/dev/fd/3", "/dev/fd/4"}, from, to,
                 static_cast<uint64_t>(info.st_size), progress);
}

}  // namespace umld::image
