#include "image/import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "image/archive_reader.h"
#include "image/ext4_writer.h"
#include "image/folder_reader.h"
#include "image/layers.h"
#include "image/raw_copy.h"
#include "image/sha256.h"
#include "image/tree.h"

namespace umld::image {
namespace {

constexpr absl::Duration kReportEvery = absl::Milliseconds(100);
constexpr uint64_t kBlock = Ext4Writer::kBlock;

absl::Status UnknownFormat(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("the source ", what),
                   {"UNKNOWN_FORMAT", "",
                    "give a filesystem, a qcow2 image, a tar of a root filesystem, a folder, or a container image; "
                    "--format says which it is when that cannot be told"});
}

bool IsZero(absl::string_view bytes) {
  return bytes[0] == '\0' && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

// What goes into the digest of a tree: so that the same source makes the same image again.
class Fingerprint {
 public:
  void Add(const Entry& entry) {
    AddText(absl::StrCat(entry.mode, " ", entry.uid, " ", entry.gid, " ", entry.mtime, " ", entry.size, " ",
                         entry.major, " ", entry.minor));
    for (const std::string* text : {&entry.path, &entry.target, &entry.hard_link}) AddText(*text);
  }
  // As a UUID of the kind that is anybody's own (version 8).
  std::string Uuid() {
    std::string bytes = sha_.Take();
    bytes[6] = static_cast<char>(0x80 | (bytes[6] & 0x0f));
    bytes[8] = static_cast<char>(0x80 | (bytes[8] & 0x3f));
    const std::string hex = absl::BytesToHexString(bytes);
    return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                        hex.substr(20, 12));
  }

 private:
  void AddText(absl::string_view text) {
    sha_.Add(absl::StrCat(text.size(), " "));
    sha_.Add(text);
  }
  Sha256 sha_;
};

// Not oftener than somebody looks.
class Reporter {
 public:
  explicit Reporter(const StepProgress& progress) : progress_(progress) {}
  absl::Status operator()(const std::string& what, uint64_t done, uint64_t total) {
    const absl::Time now = absl::Now();
    if (!progress_ || now < next_) return absl::OkStatus();
    next_ = now + kReportEvery;
    return progress_(what, done, total);
  }

 private:
  const StepProgress& progress_;
  absl::Time next_ = absl::InfinitePast();
};

// The first reading: what is there, and how much room that takes.
struct Scan {
  Tree tree;
  std::vector<std::vector<std::weak_ptr<Node>>> nodes;  // by layer and the number of the entry
  uint64_t content_bytes = 0;
  uint64_t blocks = 0;
  uint64_t pieces = 0;
  int64_t newest = 1;
  std::string uuid;
};

absl::Status Measure(EntryData& data, uint64_t* blocks, uint64_t* pieces, uint64_t* bytes,
                     const std::function<absl::Status()>& look) {
  uint64_t next = 0;
  while (true) {
    ASSIGN_OR_RETURN(const EntryData::Piece piece, data.Next());
    if (piece.bytes.empty()) return absl::OkStatus();
    *bytes += piece.bytes.size();
    if (piece.bytes.size() < kBlock || !IsZero(piece.bytes)) {
      const uint64_t first = std::max(piece.offset / kBlock, next);
      const uint64_t end = (piece.offset + piece.bytes.size() + kBlock - 1) / kBlock;
      if (end > first) *blocks += end - first;
      if (piece.offset / kBlock > next) ++*pieces;
      next = std::max(next, end);
    }
    RETURN_IF_ERROR(look());
  }
}

absl::Status ScanAll(const std::vector<std::unique_ptr<EntrySource>>& layers, bool layered, const std::string& output,
                     uint64_t size_bytes, Reporter& report, Scan* scan) {
  struct statvfs host = {};
  if (statvfs(output.c_str(), &host) != 0) return ErrnoError(errno, output);
  const uint64_t free_bytes = static_cast<uint64_t>(host.f_bavail) * host.f_frsize;
  Fingerprint fingerprint;
  uint64_t read_bytes = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<std::weak_ptr<Node>>& nodes = scan->nodes.emplace_back();
    EntrySource& layer = *layers[i];
    const absl::Status status = layer.ForEach([&](const Entry& entry, EntryData& data) -> absl::Status {
      absl::StatusOr<std::shared_ptr<Node>> node = scan->tree.Add(static_cast<int>(i), layered, entry);
      RETURN_IF_ERROR(node.status());
      fingerprint.Add(entry);
      nodes.push_back(*node);
      scan->newest = std::max(scan->newest, std::min<int64_t>(entry.mtime, INT32_MAX));
      const auto look = [&]() -> absl::Status {
        const auto [done, total] = layer.Position();
        return total != 0 ? report("reading", done, total) : report("reading", read_bytes, 0);
      };
      RETURN_IF_ERROR(look());
      if (*node == nullptr || !S_ISREG(entry.mode)) return absl::OkStatus();
      const uint64_t before = scan->blocks;
      RETURN_IF_ERROR(Measure(data, &scan->blocks, &scan->pieces, &read_bytes, [&]() -> absl::Status {
        const uint64_t needed = scan->blocks * kBlock;
        // An archive that unpacks to more than anybody has is not read to its end. Layers may take away again.
        if (!layered && size_bytes != 0 && needed > size_bytes) {
          return MakeError(absl::StatusCode::kInvalidArgument,
                           absl::StrCat("it does not fit: its files have more than ", HumanByteSize(size_bytes)),
                           {"DOES_NOT_FIT", "", "give a larger --size, or none"});
        }
        if (needed > free_bytes) {
          return MakeError(absl::StatusCode::kResourceExhausted,
                           absl::StrCat("its files have more than the ", HumanByteSize(free_bytes), " that are free"),
                           {"DISK_FULL", output, "free space on the filesystem of umld's state directory"});
        }
        return look();
      }));
      (*node)->blocks = scan->blocks - before;
      return absl::OkStatus();
    });
    RETURN_IF_ERROR(layers.size() == 1 ? status : Annotate(status, absl::StrCat("layer ", i + 1)));
  }
  if (scan->tree.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "there is no file in the source",
                     {"EMPTY_SOURCE", "", "give a root filesystem"});
  }
  scan->uuid = fingerprint.Uuid();
  return absl::OkStatus();
}

// Of what is left in the tree, each file once.
void Sum(const Node& folder, std::map<const Node*, bool>& seen, Scan* scan) {
  for (const auto& [name, child] : folder.children) {
    if (child->IsFolder()) {
      Sum(*child, seen, scan);
    } else if (child.use_count() == 1 || seen.emplace(child.get(), true).second) {
      scan->blocks += child->blocks;
      scan->content_bytes += child->blocks == 0 ? 0 : std::min(child->size, child->blocks * kBlock);
    }
  }
}

absl::StatusOr<std::string> FirstName(int fd) {
  // Padding without end may come before it.
  constexpr int kMostPieces = 1000;
  std::string first;
  int pieces = 0;
  FdBytes bytes(fd);
  const absl::Status status = ReadArchive(
      bytes,
      [&](const Entry& entry, EntryData&) {
        first = entry.path;
        return absl::CancelledError("seen");
      },
      [&pieces]() -> absl::Status {
        if (++pieces <= kMostPieces) return absl::OkStatus();
        return MakeError(absl::StatusCode::kInvalidArgument, "the archive does not begin with a file",
                         {"BAD_ARCHIVE", "", "make it anew"});
      });
  if (first.empty()) RETURN_IF_ERROR(status);
  return first;
}

bool IsHex64(absl::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

// Container images begin with one of their own files; what `docker save` writes has its manifest last.
Format ArchiveFormat(absl::string_view first) {
  absl::ConsumePrefix(&first, "./");
  const absl::string_view top = first.substr(0, first.find('/'));
  if (first == "oci-layout" || first == "index.json" || top == "blobs") return Format::kOci;
  if (first == "manifest.json" || first == "repositories" || IsHex64(top) || IsHex64(absl::StripSuffix(top, ".json"))) {
    return Format::kDocker;
  }
  return Format::kTar;
}

}  // namespace

std::string FormatText(Format format) {
  switch (format) {
    case Format::kRaw:
      return "a disk or filesystem";
    case Format::kQcow2:
      return "a qcow2 image";
    case Format::kTar:
      return "a tar";
    case Format::kFolder:
      return "a folder";
    case Format::kOci:
      return "an OCI image";
    case Format::kDocker:
      return "a docker image";
  }
  return "";
}

absl::StatusOr<Format> DetectFormat(int fd) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return ErrnoError(errno, "read the source");
  if (S_ISDIR(info.st_mode)) {
    struct stat mark = {};
    if (fstatat(fd, "index.json", &mark, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(fd, "blobs", &mark, AT_SYMLINK_NOFOLLOW) == 0)
      return Format::kOci;
    if (fstatat(fd, "manifest.json", &mark, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(fd, "etc", &mark, AT_SYMLINK_NOFOLLOW) != 0)
      return Format::kDocker;
    return Format::kFolder;
  }
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) return UnknownFormat("is no file, folder or block device");
  std::string start(66 << 10, '\0');
  const ssize_t got = pread(fd, start.data(), start.size(), 0);
  if (got < 0) return ErrnoError(errno, "read the source");
  if (got == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the source is empty",
                     {"EMPTY_SOURCE", "", "give a file with something in it"});
  }
  // Behind the end are zeros, which no magic number has.
  const absl::string_view bytes = start;
  const auto has = [&](size_t at, absl::string_view magic) { return bytes.substr(at, magic.size()) == magic; };
  if (has(0, "QFI\xfb")) return Format::kQcow2;
  if (has(0, "KDMV") || has(0, "# Disk DescriptorFile"))
    return UnknownFormat("is a VMDK disk: convert it with qemu-img");
  if (has(0, "conectix") || has(0, "vhdxfile")) return UnknownFormat("is a VHD disk: convert it with qemu-img");
  if (has(0, "OOOM")) return UnknownFormat("is a COW file, not an image of its own");
  if (has(257, "ustar") || has(0, "\x1f\x8b") ||
      has(0, absl::string_view("\xfd"
                               "7zXZ\0",
                               6)) ||
      has(0, "\x28\xb5\x2f\xfd") || has(0, "BZh")) {
    ASSIGN_OR_RETURN(const std::string first, FirstName(fd));
    return ArchiveFormat(first);
  }
  // ext2 to 4, XFS, squashfs, btrfs; a table of partitions.
  if (has(1080, "\x53\xef") || has(0, "XFSB") || has(0, "hsqs") || has(65600, "_BHRfS_M") || has(510, "\x55\xaa")) {
    return Format::kRaw;
  }
  return UnknownFormat("is neither a filesystem nor a disk nor an archive that umld knows");
}

absl::Status ImportTree(const std::vector<std::unique_ptr<EntrySource>>& layers, bool layered,
                        const std::string& output, uint64_t size_bytes, const StepProgress& progress) {
  Reporter report(progress);
  Scan scan;
  RETURN_IF_ERROR(ScanAll(layers, layered, output, size_bytes, report, &scan));
  std::map<const Node*, bool> seen;
  scan.blocks = 0;
  Sum(*scan.tree.root(), seen, &scan);
  Ext4Plan plan;
  plan.size_bytes = size_bytes;
  plan.data_blocks = scan.blocks;
  plan.pieces = scan.pieces;
  plan.uuid = scan.uuid;
  plan.time = scan.newest;
  ASSIGN_OR_RETURN(const std::unique_ptr<Ext4Writer> writer, Ext4Writer::Create(output, scan.tree, plan));
  uint64_t written = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    size_t number = 0;
    RETURN_IF_ERROR(layers[i]->ForEach([&](const Entry& entry, EntryData& data) -> absl::Status {
      const std::vector<std::weak_ptr<Node>>& nodes = scan.nodes[i];
      const std::shared_ptr<Node> node = number < nodes.size() ? nodes[number].lock() : nullptr;
      const bool unknown = number++ >= nodes.size();
      RETURN_IF_ERROR(report("writing", written, scan.content_bytes));
      if (unknown || (node != nullptr && S_ISREG(node->mode) && node->size != entry.size)) {
        return MakeError(absl::StatusCode::kAborted, "the source changed while it was read",
                         {"SOURCE_CHANGED", "", "import it when nobody writes to it"});
      }
      if (node == nullptr || node->inode == 0 || !S_ISREG(entry.mode)) return absl::OkStatus();
      class Counted final : public EntryData {
       public:
        Counted(EntryData* data, uint64_t* written, uint64_t total, Reporter* report)
            : data_(data), written_(written), total_(total), report_(report) {}
        absl::StatusOr<Piece> Next() override {
          ASSIGN_OR_RETURN(const Piece piece, data_->Next());
          *written_ += piece.bytes.size();
          RETURN_IF_ERROR((*report_)("writing", std::min(*written_, total_), total_));
          return piece;
        }

       private:
        EntryData* const data_;
        uint64_t* const written_;
        const uint64_t total_;
        Reporter* const report_;
      } counted(&data, &written, scan.content_bytes, &report);
      return Annotate(writer->WriteContent(*node, counted),
                      absl::StrCat("\"", absl::CHexEscape(entry.path.substr(0, 200)), "\""));
    }));
  }
  return writer->Finish();
}

namespace {

// Where the work cannot tell how far it is, what was told last is told again, for whoever wants it to end.
class Work {
 public:
  explicit Work(const StepProgress& progress) : progress_(progress), report_(tell_) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  const StepProgress& progress() const { return tell_; }
  const MayGoOn& may_go_on() const { return may_go_on_; }

 private:
  const StepProgress& progress_;
  std::string what_ = "reading";
  uint64_t done_ = 0, total_ = 0;
  const StepProgress tell_ = [this](const std::string& what, uint64_t done, uint64_t total) {
    what_ = what;
    done_ = done;
    total_ = total;
    return progress_ ? progress_(what, done, total) : absl::OkStatus();
  };
  Reporter report_;
  const MayGoOn may_go_on_ = [this] { return report_(what_, done_, total_); };
};

using AsReader = std::function<absl::Status(const std::function<absl::Status()>&)>;

// What reads a source with other permissions. Nothing but the source is opened meanwhile.
class ActingSource final : public EntrySource {
 public:
  ActingSource(std::unique_ptr<EntrySource> source, AsReader as_reader)
      : source_(std::move(source)), as_reader_(std::move(as_reader)) {}
  absl::Status ForEach(const EntryVisitor& visit) override {
    return as_reader_([&] { return source_->ForEach(visit); });
  }
  std::pair<uint64_t, uint64_t> Position() const override { return source_->Position(); }

 private:
  const std::unique_ptr<EntrySource> source_;
  const AsReader as_reader_;
};

// An image is read through a COW file, and UML 6.1 reads wrong what comes after a page of which only a part has been
// written (docs/uml-notes.md, "Disks"). A filesystem whose blocks are smaller than a page makes such pages.
absl::Status CheckBlocks(int fd) {
  constexpr off_t kSuperblock = 1024;
  constexpr size_t kMagicAt = 0x38, kLogBlockAt = 0x18;
  unsigned char block[64];
  if (pread(fd, block, sizeof(block), kSuperblock) != sizeof(block)) return absl::OkStatus();
  const bool is_ext = block[kMagicAt] == 0x53 && block[kMagicAt + 1] == 0xef;
  if (!is_ext || block[kLogBlockAt] > 1) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("its ext filesystem has blocks of ", 1024 << block[kLogBlockAt],
                   " bytes, which UML kernels do not read right through a COW file"),
      {"SMALL_BLOCKS", "",
       "make it with `mke2fs -b 4096`, import a tar of its files, or give a guest the file itself as a disk"});
}

absl::Status ImportDisk(int source, const std::string& output, const ImportOptions& options,
                        const StepProgress& progress) {
  if (options.size_bytes != 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "a disk or filesystem keeps the size that it has",
                     {"INVALID_SIZE", "", "leave --size away"});
  }
  const UniqueFd to(open(output.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!to.ok()) return ErrnoError(errno, output);
  if (options.format == Format::kRaw) {
    RETURN_IF_ERROR(CopyRaw(source, to.get(), progress));
    return options.small_blocks ? absl::OkStatus() : CheckBlocks(to.get());
  }
  ASSIGN_OR_RETURN(const std::string scratch, options.scratch());
  const UniqueFd copy(open(scratch.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!copy.ok()) return ErrnoError(errno, scratch);
  RETURN_IF_ERROR(CopyRaw(source, copy.get(), progress));
  RETURN_IF_ERROR(ConvertQcow2(copy.get(), to.get(), progress));
  return options.small_blocks ? absl::OkStatus() : CheckBlocks(to.get());
}

}  // namespace

absl::Status Import(int source, const std::string& output, const ImportOptions& options, const StepProgress& progress) {
  const AsReader as_reader =
      options.as_reader ? options.as_reader : [](const std::function<absl::Status()>& read) { return read(); };
  Work work(progress);
  std::vector<std::unique_ptr<EntrySource>> layers;
  switch (options.format) {
    case Format::kRaw:
    case Format::kQcow2:
      return ImportDisk(source, output, options, work.progress());
    case Format::kTar:
      layers.push_back(ArchiveSource(source, work.may_go_on()));
      break;
    case Format::kFolder:
      layers.push_back(FolderSource(source));
      break;
    case Format::kOci:
    case Format::kDocker:
      RETURN_IF_ERROR(as_reader([&]() -> absl::Status {
        ASSIGN_OR_RETURN(layers, FindLayers(source, work.may_go_on()));
        return absl::OkStatus();
      }));
      break;
  }
  for (std::unique_ptr<EntrySource>& layer : layers) {
    layer = std::make_unique<ActingSource>(std::move(layer), as_reader);
  }
  const bool layered = options.format == Format::kOci || options.format == Format::kDocker;
  return ImportTree(layers, layered, output, options.size_bytes, work.progress());
}

}  // namespace umld::image
