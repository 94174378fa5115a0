#include "image/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::image {
namespace {

constexpr size_t kChunk = 256 << 10;

// Names are bytes here, or UTF-8 in newer archives: libarchive would convert the latter for the C locale and lose them.
// Of this thread alone.
class Utf8Names {
 public:
  Utf8Names() : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = uselocale(locale_);
  }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;
  ~Utf8Names() {
    if (locale_ == nullptr) return;
    uselocale(before_);
    freelocale(locale_);
  }

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

struct EndArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

struct Feed {
  ByteSource* bytes;
  std::vector<char> buffer = std::vector<char>(kChunk);
  absl::Status failure;
};

la_ssize_t ReadMore(archive* reader, void* context, const void** buffer) {
  Feed* const feed = static_cast<Feed*>(context);
  absl::StatusOr<size_t> got = feed->bytes->Read(feed->buffer.data(), feed->buffer.size());
  if (!got.ok()) {
    feed->failure = got.status();
    archive_set_error(reader, EIO, "%s", "cannot be read");
    return -1;
  }
  *buffer = feed->buffer.data();
  return static_cast<la_ssize_t>(*got);
}

absl::Status BadArchive(archive* reader, const Feed& feed) {
  RETURN_IF_ERROR(feed.failure);
  const char* const said = archive_error_string(reader);
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("the archive is damaged, cut short or none: ", said == nullptr ? "no more is known" : said),
      {"BAD_ARCHIVE", "", "it has to be a tar, plain or packed by gzip, xz, zstd or bzip2"});
}

class ArchiveData final : public EntryData {
 public:
  ArchiveData(archive* reader, const Feed* feed) : reader_(reader), feed_(feed) {}
  absl::StatusOr<Piece> Next() override {
    while (true) {
      const void* data = nullptr;
      size_t size = 0;
      la_int64_t offset = 0;
      const int result = archive_read_data_block(reader_, &data, &size, &offset);
      if (result == ARCHIVE_EOF) return Piece();
      if (result < ARCHIVE_WARN || offset < 0) return BadArchive(reader_, *feed_);
      if (size == 0) continue;
      return Piece{static_cast<uint64_t>(offset), {static_cast<const char*>(data), size}};
    }
  }

 private:
  archive* const reader_;
  const Feed* const feed_;
};

std::string Text(const char* text) { return text == nullptr ? "" : text; }

bool IsKept(absl::string_view name) {
  if (absl::StartsWith(name, "trusted.overlay.")) return false;
  for (const char* prefix : {"user.", "trusted.", "security.", "system.posix_acl_"}) {
    if (absl::StartsWith(name, prefix) && name.size() > strlen(prefix)) return name.size() < 256;
  }
  return false;
}

// POSIX ACLs as the kernel's extended attributes say them.
void AddAcl(archive_entry* from, int type, const char* name, Entry* entry) {
  // Without an entry beyond the mode's three there is none to be kept.
  if (archive_entry_acl_reset(from, type) <= (type == ARCHIVE_ENTRY_ACL_TYPE_ACCESS ? 3 : 0)) return;
  const auto put = [](std::string* out, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
  };
  struct Rule {
    uint32_t tag, id, permissions;
  };
  std::vector<Rule> rules;
  int got_type = 0, permissions = 0, tag = 0, id = 0;
  const char* who = nullptr;
  while (archive_entry_acl_next(from, type, &got_type, &permissions, &tag, &id, &who) == ARCHIVE_OK) {
    const uint32_t bits = ((permissions & ARCHIVE_ENTRY_ACL_READ) != 0 ? 4u : 0) |
                          ((permissions & ARCHIVE_ENTRY_ACL_WRITE) != 0 ? 2u : 0) |
                          ((permissions & ARCHIVE_ENTRY_ACL_EXECUTE) != 0 ? 1u : 0);
    constexpr uint32_t kNobody = 0xffffffff;
    switch (tag) {
      case ARCHIVE_ENTRY_ACL_USER_OBJ:
        rules.push_back({0x01, kNobody, bits});
        break;
      case ARCHIVE_ENTRY_ACL_USER:
        rules.push_back({0x02, static_cast<uint32_t>(id), bits});
        break;
      case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
        rules.push_back({0x04, kNobody, bits});
        break;
      case ARCHIVE_ENTRY_ACL_GROUP:
        rules.push_back({0x08, static_cast<uint32_t>(id), bits});
        break;
      case ARCHIVE_ENTRY_ACL_MASK:
        rules.push_back({0x10, kNobody, bits});
        break;
      case ARCHIVE_ENTRY_ACL_OTHER:
        rules.push_back({0x20, kNobody, bits});
        break;
      default:
        break;
    }
  }
  // The kernel wants them in this order.
  std::sort(rules.begin(), rules.end(),
            [](const Rule& a, const Rule& b) { return std::make_pair(a.tag, a.id) < std::make_pair(b.tag, b.id); });
  std::string value;
  put(&value, 2, 4);
  for (const Rule& rule : rules) {
    put(&value, rule.tag, 2);
    put(&value, rule.permissions, 2);
    put(&value, rule.id, 4);
  }
  entry->xattrs.emplace_back(name, std::move(value));
}

Entry Take(archive_entry* from) {
  Entry entry;
  entry.path = Text(archive_entry_pathname(from));
  entry.mode = archive_entry_mode(from);
  entry.uid = static_cast<uint32_t>(archive_entry_uid(from));
  entry.gid = static_cast<uint32_t>(archive_entry_gid(from));
  if (archive_entry_mtime_is_set(from)) {
    entry.mtime = archive_entry_mtime(from);
    entry.mtime_nsec = static_cast<uint32_t>(archive_entry_mtime_nsec(from));
  }
  if (archive_entry_size_is_set(from)) entry.size = static_cast<uint64_t>(archive_entry_size(from));
  entry.major = static_cast<uint32_t>(archive_entry_rdevmajor(from));
  entry.minor = static_cast<uint32_t>(archive_entry_rdevminor(from));
  entry.target = Text(archive_entry_symlink(from));
  entry.hard_link = Text(archive_entry_hardlink(from));
  archive_entry_xattr_reset(from);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  while (archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
    if (name != nullptr && IsKept(name)) {
      entry.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
    }
  }
  AddAcl(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", &entry);
  AddAcl(from, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", &entry);
  return entry;
}

class FileArchive final : public EntrySource {
 public:
  explicit FileArchive(int fd) : fd_(fd) {
    struct stat info = {};
    if (fstat(fd, &info) == 0) size_ = static_cast<uint64_t>(info.st_size);
  }
  absl::Status ForEach(const EntryVisitor& visit) override {
    FdBytes bytes(fd_);
    bytes_ = &bytes;
    absl::Status status = ReadArchive(bytes, visit);
    bytes_ = nullptr;
    return status;
  }
  std::pair<uint64_t, uint64_t> Position() const override {
    return {bytes_ == nullptr ? 0 : bytes_->position(), size_};
  }

 private:
  const int fd_;
  uint64_t size_ = 0;
  const FdBytes* bytes_ = nullptr;
};

}  // namespace

absl::StatusOr<size_t> FdBytes::Read(char* buffer, size_t size) {
  while (true) {
    const ssize_t got = pread(fd_, buffer, size, static_cast<off_t>(position_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read the source");
    position_ += static_cast<uint64_t>(got);
    return static_cast<size_t>(got);
  }
}

absl::Status ReadArchive(ByteSource& bytes, const EntryVisitor& visit) {
  const Utf8Names names;
  const std::unique_ptr<archive, EndArchive> reader(archive_read_new());
  if (reader == nullptr) return absl::ResourceExhaustedError("no memory for the archive");
  // What libarchive has within itself; nothing that would start a program.
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_lzma(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_format_tar(reader.get());
  Feed feed;
  feed.bytes = &bytes;
  if (archive_read_open(reader.get(), &feed, nullptr, ReadMore, nullptr) != ARCHIVE_OK) {
    return BadArchive(reader.get(), feed);
  }
  while (true) {
    archive_entry* header = nullptr;
    const int result = archive_read_next_header(reader.get(), &header);
    if (result == ARCHIVE_EOF) return absl::OkStatus();
    if (result < ARCHIVE_WARN) return BadArchive(reader.get(), feed);
    const Entry entry = Take(header);
    ArchiveData data(reader.get(), &feed);
    RETURN_IF_ERROR(visit(entry, data));
  }
}

std::unique_ptr<EntrySource> ArchiveSource(int fd) { return std::make_unique<FileArchive>(fd); }

}  // namespace umld::image
