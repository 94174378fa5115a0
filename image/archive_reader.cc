#include "image/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <locale.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::image {
namespace {

constexpr size_t kChunk = 256 << 10;
constexpr size_t kMostHeaders = 1 << 20;
constexpr uint64_t kMostMemory = 256 << 20;
constexpr absl::string_view kXzMagic(
    "\xfd"
    "7zXZ\0",
    6);

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

absl::Status BadArchive(absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, why,
                   {"BAD_ARCHIVE", "", "it has to be a tar, plain or packed once by gzip, xz, zstd or bzip2"});
}

absl::Status Damaged(absl::string_view why) {
  return BadArchive(absl::StrCat("the archive is damaged, cut short or none: ", why));
}

struct EndArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using Reader = std::unique_ptr<archive, EndArchive>;

// What libarchive reads from.
struct Feed {
  ByteSource* bytes;
  MayGoOn may_go_on;
  std::vector<char> buffer = std::vector<char>(kChunk);
  // Since libarchive was asked for a header or for data, where what it reads is that at once; nullopt: it is no tar.
  // What it finds before that, headers and maps of sparse files, it keeps, at many times its size.
  std::optional<size_t> header_bytes;
  absl::Status failure;
};

absl::StatusOr<size_t> Fill(Feed& feed) {
  if (feed.header_bytes.has_value() && *feed.header_bytes > kMostHeaders) {
    return BadArchive("an entry of the archive has more than 1 MiB of headers");
  }
  if (feed.may_go_on) RETURN_IF_ERROR(feed.may_go_on());
  ASSIGN_OR_RETURN(const size_t got, feed.bytes->Read(feed.buffer.data(), feed.buffer.size()));
  if (feed.header_bytes.has_value()) *feed.header_bytes += got;
  return got;
}

la_ssize_t ReadMore(archive* reader, void* context, const void** buffer) {
  Feed* const feed = static_cast<Feed*>(context);
  absl::StatusOr<size_t> got = Fill(*feed);
  if (!got.ok()) {
    feed->failure = got.status();
    archive_set_error(reader, EIO, "%s", "cannot be read");
    return -1;
  }
  *buffer = feed->buffer.data();
  return static_cast<la_ssize_t>(*got);
}

absl::Status Failure(archive* reader, const Feed& feed) {
  RETURN_IF_ERROR(feed.failure);
  const char* const said = archive_error_string(reader);
  return Damaged(said == nullptr ? "no more is known" : said);
}

// Bytes of which the first have been looked at.
class Peeked final : public ByteSource {
 public:
  Peeked(ByteSource* rest, const MayGoOn& may_go_on) : rest_(rest), may_go_on_(may_go_on) {}
  absl::StatusOr<absl::string_view> Start(size_t size) {
    start_.resize(size);
    size_t have = 0;
    while (have < size) {
      ASSIGN_OR_RETURN(const size_t got, rest_->Read(&start_[have], size - have));
      if (got == 0) break;
      have += got;
    }
    start_.resize(have);
    return absl::string_view(start_);
  }
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (may_go_on_) RETURN_IF_ERROR(may_go_on_());
    if (given_ == start_.size()) return rest_->Read(buffer, size);
    const size_t count = start_.copy(buffer, size, given_);
    given_ += count;
    return count;
  }

 private:
  ByteSource* const rest_;
  const MayGoOn& may_go_on_;
  std::string start_;
  size_t given_ = 0;
};

// libarchive would let an xz file say how much memory it takes to unpack it, up to 4 GiB.
class Xz final : public ByteSource {
 public:
  explicit Xz(ByteSource* packed) : packed_(packed) {}
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;
  ~Xz() override { lzma_end(&stream_); }
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (!begun_) result_ = lzma_stream_decoder(&stream_, kMostMemory, LZMA_CONCATENATED);
    begun_ = true;
    stream_.next_out = reinterpret_cast<uint8_t*>(buffer);
    stream_.avail_out = size;
    while (result_ == LZMA_OK && stream_.avail_out == size) {
      if (stream_.avail_in == 0 && !at_end_) {
        ASSIGN_OR_RETURN(stream_.avail_in, packed_->Read(input_.data(), input_.size()));
        stream_.next_in = reinterpret_cast<const uint8_t*>(input_.data());
        at_end_ = stream_.avail_in == 0;
      }
      result_ = lzma_code(&stream_, at_end_ ? LZMA_FINISH : LZMA_RUN);
    }
    if (result_ == LZMA_OK || result_ == LZMA_STREAM_END) return size - stream_.avail_out;
    // What came before it is good.
    if (stream_.avail_out != size) return size - stream_.avail_out;
    if (result_ == LZMA_MEMLIMIT_ERROR) return BadArchive("to unpack the archive takes more than 256 MiB of memory");
    return Damaged("it is no whole xz file");
  }

 private:
  ByteSource* const packed_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  lzma_ret result_ = LZMA_OK;
  std::vector<char> input_ = std::vector<char>(kChunk);
  bool begun_ = false, at_end_ = false;
};

// What libarchive unpacks within itself, without a program; and what is not packed at all.
class Filtered final : public ByteSource {
 public:
  explicit Filtered(ByteSource* packed) { feed_.bytes = packed; }
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (reader_ == nullptr) RETURN_IF_ERROR(Open());
    if (empty_) return 0;
    const la_ssize_t got = archive_read_data(reader_.get(), buffer, size);
    if (got < 0) return Failure(reader_.get(), feed_);
    return static_cast<size_t>(got);
  }

 private:
  absl::Status Open() {
    reader_.reset(archive_read_new());
    if (reader_ == nullptr) return absl::ResourceExhaustedError("no memory for the archive");
    archive_read_support_filter_gzip(reader_.get());
    archive_read_support_filter_bzip2(reader_.get());
    archive_read_support_filter_zstd(reader_.get());
    archive_read_support_format_raw(reader_.get());
    archive_read_support_format_empty(reader_.get());
    archive_entry* whole = nullptr;
    if (archive_read_open(reader_.get(), &feed_, nullptr, ReadMore, nullptr) != ARCHIVE_OK) {
      return Failure(reader_.get(), feed_);
    }
    // One more than there are: the last is the file itself.
    if (archive_filter_count(reader_.get()) > 2) return BadArchive("the archive is packed more than once");
    const int result = archive_read_next_header(reader_.get(), &whole);
    empty_ = result == ARCHIVE_EOF;
    return empty_ || result >= ARCHIVE_WARN ? absl::OkStatus() : Failure(reader_.get(), feed_);
  }

  Feed feed_;
  Reader reader_;
  bool empty_ = false;
};

class ArchiveData final : public EntryData {
 public:
  ArchiveData(archive* reader, Feed* feed) : reader_(reader), feed_(feed) {}
  absl::StatusOr<Piece> Next() override {
    while (true) {
      const void* data = nullptr;
      size_t size = 0;
      la_int64_t offset = 0;
      feed_->header_bytes = 0;
      const int result = archive_read_data_block(reader_, &data, &size, &offset);
      if (result == ARCHIVE_EOF) return Piece();
      if (result < ARCHIVE_WARN || offset < 0) return Failure(reader_, *feed_);
      if (size == 0) continue;
      return Piece{static_cast<uint64_t>(offset), {static_cast<const char*>(data), size}};
    }
  }

 private:
  archive* const reader_;
  Feed* const feed_;
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
  FileArchive(int fd, MayGoOn may_go_on) : fd_(fd), may_go_on_(std::move(may_go_on)) {
    struct stat info = {};
    if (fstat(fd, &info) == 0) size_ = static_cast<uint64_t>(info.st_size);
  }
  absl::Status ForEach(const EntryVisitor& visit) override {
    FdBytes bytes(fd_);
    bytes_ = &bytes;
    absl::Status status = ReadArchive(bytes, visit, may_go_on_);
    bytes_ = nullptr;
    return status;
  }
  std::pair<uint64_t, uint64_t> Position() const override {
    return {bytes_ == nullptr ? 0 : bytes_->position(), size_};
  }

 private:
  const int fd_;
  const MayGoOn may_go_on_;
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

absl::Status ReadArchive(ByteSource& bytes, const EntryVisitor& visit, const MayGoOn& may_go_on) {
  const Utf8Names names;
  // Unpacked first, and then read: what little is packed may be much, and is to be counted as what it is.
  Peeked packed(&bytes, may_go_on);
  ASSIGN_OR_RETURN(const absl::string_view start, packed.Start(kXzMagic.size()));
  Xz xz(&packed);
  Filtered filtered(&packed);
  Feed feed;
  feed.bytes = start == kXzMagic ? static_cast<ByteSource*>(&xz) : &filtered;
  feed.may_go_on = may_go_on;
  const Reader reader(archive_read_new());
  if (reader == nullptr) return absl::ResourceExhaustedError("no memory for the archive");
  archive_read_support_format_tar(reader.get());
  feed.header_bytes = 0;
  if (archive_read_open(reader.get(), &feed, nullptr, ReadMore, nullptr) != ARCHIVE_OK) {
    return Failure(reader.get(), feed);
  }
  while (true) {
    feed.header_bytes = 0;
    archive_entry* header = nullptr;
    const int result = archive_read_next_header(reader.get(), &header);
    if (result == ARCHIVE_EOF) return absl::OkStatus();
    if (result < ARCHIVE_WARN) return Failure(reader.get(), feed);
    const Entry entry = Take(header);
    ArchiveData data(reader.get(), &feed);
    RETURN_IF_ERROR(visit(entry, data));
    // What the visitor has not read would count as headers of the next.
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const EntryData::Piece piece, data.Next());
      more = !piece.bytes.empty();
    }
  }
}

std::unique_ptr<EntrySource> ArchiveSource(int fd, MayGoOn may_go_on) {
  return std::make_unique<FileArchive>(fd, std::move(may_go_on));
}

}  // namespace umld::image
