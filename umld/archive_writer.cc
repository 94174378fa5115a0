#include "umld/archive_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "google/protobuf/util/json_util.h"

namespace umld {
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kSmallestGap = 64 << 10;

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) {
    return absl::InternalError("the guest's configuration does not become JSON");
  }
  return text;
}

// Those with a hole of at most `gap` bytes between them become one.
std::vector<Extent> Join(const std::vector<Extent>& extents, uint64_t gap) {
  std::vector<Extent> joined;
  for (const Extent& extent : extents) {
    if (!joined.empty() && extent.offset - (joined.back().offset + joined.back().size) <= gap) {
      joined.back().size = extent.offset + extent.size - joined.back().offset;
    } else {
      joined.push_back(extent);
    }
  }
  return joined;
}

}  // namespace

absl::StatusOr<std::vector<Extent>> UsedExtents(int fd, uint64_t size) {
  std::vector<Extent> extents;
  uint64_t gap = 0;
  for (uint64_t at = 0; at < size;) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return ErrnoError(errno, "look for data");
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return ErrnoError(errno, "look for holes");
    const uint64_t begin = static_cast<uint64_t>(data);
    const uint64_t end = std::min(static_cast<uint64_t>(hole), size);
    if (end <= begin) break;
    extents.push_back({begin, end - begin});
    at = end;
    while (extents.size() > kMaxExtents) {
      gap = std::max(2 * gap, kSmallestGap);
      extents = Join(extents, gap);
    }
  }
  return Join(extents, gap);
}

absl::StatusOr<ArchiveWriter> ArchiveWriter::Create(const v1::GuestArchive& manifest, std::vector<File> files) {
  ArchiveWriter writer;
  writer.time_ = manifest.time().seconds();
  ASSIGN_OR_RETURN(writer.manifest_, ToJson(manifest));
  if (writer.manifest_.size() > kMaxDocument) return absl::InternalError("the guest's configuration is too large");
  const auto document_bytes = [](size_t size) { return kTarBlock + size + TarPadding(size); };
  writer.total_ = document_bytes(writer.manifest_.size()) + 2 * kTarBlock;
  for (File& file : files) {
    Member member;
    absl::StatusOr<std::vector<Extent>> extents = UsedExtents(file.fd.get(), file.size);
    if (!extents.ok()) return Annotate(extents.status(), file.name);
    member.extents = *std::move(extents);
    member.map = SparseMap(member.extents, file.size);
    member.stored = member.map.size();
    for (const Extent& extent : member.extents) member.stored += extent.size;
    member.header = SparseTarHeader(file.name, file.size, member.stored, writer.time_);
    member.file = std::move(file);
    writer.total_ += member.header.size() + member.stored + TarPadding(member.stored);
    writer.members_.push_back(std::move(member));
  }
  // The checksums are always of one length, whatever they are.
  const auto expect = [&writer](const std::string& name, uint64_t stored) {
    v1::ArchiveChecksums::Member* sum = writer.sums_.add_members();
    sum->set_file(name);
    sum->set_stored_bytes(stored);
    sum->set_sha256(std::string(64, '0'));
  };
  expect(kManifestFile, writer.manifest_.size());
  for (const Member& member : writer.members_) expect(member.file.name, member.stored);
  ASSIGN_OR_RETURN(const std::string sums, ToJson(writer.sums_));
  writer.total_ += document_bytes(sums.size());
  return writer;
}

absl::StatusOr<std::string> ArchiveWriter::Next() {
  while (pending_.size() < kPiece && !done_) RETURN_IF_ERROR(Produce(&pending_));
  if (pending_.size() <= 2 * kPiece) return std::exchange(pending_, "");
  std::string piece = pending_.substr(0, kPiece);
  pending_.erase(0, kPiece);
  return piece;
}

void ArchiveWriter::AppendDocument(const std::string& name, const std::string& text, std::string* piece) {
  absl::StrAppend(piece, TarHeader(name, text.size(), time_, '0'), text, std::string(TarPadding(text.size()), '\0'));
}

absl::Status ArchiveWriter::Produce(std::string* piece) {
  if (!begun_) {
    begun_ = true;
    AppendDocument(kManifestFile, manifest_, piece);
    sha_.Add(manifest_);
    sums_.mutable_members(0)->set_sha256(absl::BytesToHexString(sha_.Take()));
    return absl::OkStatus();
  }
  if (member_ == members_.size()) {
    done_ = true;
    ASSIGN_OR_RETURN(const std::string sums, ToJson(sums_));
    AppendDocument(kChecksumsFile, sums, piece);
    piece->append(2 * kTarBlock, '\0');
    return absl::OkStatus();
  }
  const Member& member = members_[member_];
  if (!in_member_) {
    in_member_ = true;
    sha_ = image::Sha256();
    sha_.Add(member.map);
    absl::StrAppend(piece, member.header, member.map);
    extent_ = 0;
    extent_done_ = 0;
    return absl::OkStatus();
  }
  if (extent_ == member.extents.size()) {
    piece->append(TarPadding(member.stored), '\0');
    sums_.mutable_members(static_cast<int>(member_) + 1)->set_sha256(absl::BytesToHexString(sha_.Take()));
    in_member_ = false;
    ++member_;
    return absl::OkStatus();
  }
  const Extent& extent = member.extents[extent_];
  const size_t begin = piece->size();
  piece->resize(begin + std::min<uint64_t>(kPiece, extent.size - extent_done_));
  const ssize_t got = pread(member.file.fd.get(), piece->data() + begin, piece->size() - begin,
                            static_cast<off_t>(extent.offset + extent_done_));
  if (got < 0 && errno != EINTR) return ErrnoError(errno, absl::StrCat("read ", member.file.name));
  if (got == 0) {
    return MakeError(absl::StatusCode::kAborted, absl::StrCat(member.file.name, " became shorter while it was read"),
                     {"SOURCE_CHANGED", member.file.name, "export it when nobody writes to it"});
  }
  piece->resize(begin + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  sha_.Add(absl::string_view(*piece).substr(begin));
  extent_done_ += piece->size() - begin;
  if (extent_done_ == extent.size) {
    ++extent_;
    extent_done_ = 0;
  }
  return absl::OkStatus();
}

}  // namespace umld
