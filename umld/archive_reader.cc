#include "umld/archive_reader.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "google/protobuf/util/json_util.h"

namespace umld {
namespace {

constexpr size_t kMaxPax = 4096, kMaxDigits = 19, kMaxFiles = 16;
constexpr uint64_t kEndBytes = 2 * kTarBlock, kMostEndBytes = 1 << 20;
constexpr size_t kHexDigits = 64;

absl::Status Bad(absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("the archive ", why),
                   {"BAD_ARCHIVE", "", "get it once more, whole, from where `umlctl export` made it"});
}

// What people forget to unpack first.
absl::Status NoArchive(absl::string_view start) {
  const char* program = nullptr;
  if (absl::StartsWith(start, "\x28\xb5\x2f\xfd")) program = "zstd -dc";
  if (absl::StartsWith(start, "\x1f\x8b")) program = "gzip -dc";
  if (absl::StartsWith(start, absl::string_view("\xfd"
                                                "7zXZ",
                                                5)))
    program = "xz -dc";
  if (program == nullptr) return Bad("is none of `umlctl export`: it does not begin with guest.json");
  return MakeError(absl::StatusCode::kInvalidArgument, "the archive is packed",
                   {"BAD_ARCHIVE", "", absl::StrCat("unpack it on its way: ", program, " FILE | umlctl import -")});
}

bool IsZero(absl::string_view bytes) { return bytes.find_first_not_of('\0') == absl::string_view::npos; }

bool IsDigestOfContent(absl::string_view text) {
  return absl::ConsumePrefix(&text, "sha256:") && text.size() == kHexDigits &&
         text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

bool IsPlainWord(absl::string_view text) {
  return !text.empty() && text.size() <= 8 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == absl::string_view::npos;
}

bool ToNumber(const std::string& text, uint64_t* number) {
  return !text.empty() && text.size() <= kMaxDigits && text.find_first_not_of("0123456789") == std::string::npos &&
         absl::SimpleAtoi(text, number);
}

absl::Status CheckSize(absl::string_view file, uint64_t size) {
  if (size != 0 && size <= kMaxArchivedFile) return absl::OkStatus();
  return Bad(absl::StrCat("says that ", file, " has ", size, " bytes, which no disk of UML has"));
}

absl::Status CheckManifest(const v1::GuestArchive& manifest) {
  if (manifest.format() != kArchiveFormat) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the archive is of format ", manifest.format(), ", and this umld knows ",
                                  kArchiveFormat, " alone"),
                     {"UNKNOWN_FORMAT", "", "import it with the umld that made it, or a newer one"});
  }
  if (manifest.disks_size() > static_cast<int>(kMaxFiles) || manifest.images_size() > static_cast<int>(kMaxFiles)) {
    return Bad("has more disks than a guest can have");
  }
  std::set<std::string> ids, devices;
  for (const v1::ArchivedImage& image : manifest.images()) {
    const bool named = image.file().empty() || image.file() == absl::StrCat("images/", image.id());
    if (!IsPlainWord(image.id()) || !ids.insert(image.id()).second || !named) return Bad("names an image wrongly");
    if (!image.digest().empty() && !IsDigestOfContent(image.digest())) return Bad("has an image's digest that is none");
    if (image.file().empty() && image.digest().empty()) return Bad("says of an image neither what it is nor where");
    RETURN_IF_ERROR(CheckSize("an image", image.size_bytes()));
  }
  for (const v1::ArchivedDisk& disk : manifest.disks()) {
    if (!IsPlainWord(disk.device()) || !devices.insert(disk.device()).second ||
        disk.file() != absl::StrCat("disks/", disk.device())) {
      return Bad("names a disk wrongly");
    }
    if (!disk.image().empty() && ids.count(disk.image()) == 0) return Bad("has a disk over an image that it lacks");
    RETURN_IF_ERROR(CheckSize(disk.file(), disk.size_bytes()));
  }
  return absl::OkStatus();
}

template <typename Message>
absl::Status ParseJson(const std::string& text, absl::string_view file, Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (google::protobuf::util::JsonStringToMessage(text, message, options).ok()) return absl::OkStatus();
  return Bad(absl::StrCat("has a ", file, " that cannot be read"));
}

}  // namespace

std::string ArchiveReader::Place() const {
  if (state_ == State::kEnd) return "its end";
  return member_ < expected_.size() ? expected_[member_].first : "its end";
}

absl::Status ArchiveReader::Feed(absl::string_view bytes) {
  fed_ += bytes.size();
  while (!bytes.empty()) RETURN_IF_ERROR(Step(&bytes));
  return absl::OkStatus();
}

absl::Status ArchiveReader::Finish() const {
  if (state_ == State::kEnd && padding_ >= kEndBytes) return absl::OkStatus();
  if (fed_ == 0) return Bad("is empty");
  return Bad(absl::StrCat("is cut short, in ", Place(), " after ", fed_, " bytes"));
}

bool ArchiveReader::Collect(absl::string_view* bytes) {
  const size_t some = std::min(wanted_ - collected_.size(), bytes->size());
  collected_.append(bytes->data(), some);
  bytes->remove_prefix(some);
  return collected_.size() == wanted_;
}

absl::Status ArchiveReader::Step(absl::string_view* bytes) {
  switch (state_) {
    case State::kHeader:
      return Collect(bytes) ? TakeHeader() : absl::OkStatus();
    case State::kPax:
      return Collect(bytes) ? TakePax() : absl::OkStatus();
    case State::kDocument:
      return Collect(bytes) ? TakeDocument() : absl::OkStatus();
    case State::kMap:
      return TakeMap(bytes);
    case State::kData:
      return TakeData(bytes);
    case State::kPadding: {
      const size_t some = std::min<uint64_t>(padding_, bytes->size());
      if (!IsZero(bytes->substr(0, some))) return Bad(absl::StrCat("is damaged behind ", Place()));
      bytes->remove_prefix(some);
      padding_ -= some;
      return padding_ == 0 ? EndMember() : absl::OkStatus();
    }
    case State::kEnd:
      padding_ += bytes->size();
      if (!IsZero(*bytes) || padding_ > kMostEndBytes) return Bad("has something behind its end");
      bytes->remove_prefix(bytes->size());
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status ArchiveReader::TakeHeader() {
  const std::string block = std::exchange(collected_, "");
  TarBlock header;
  if (!ParseTarBlock(block, &header)) {
    if (fed_ > 0 && member_ == 0 && pax_.empty()) return NoArchive(block);
    return Bad(absl::StrCat("is damaged before ", Place()));
  }
  if (header.type == 'x' && pax_.empty()) {
    if (header.size == 0 || header.size > kMaxPax) return Bad(absl::StrCat("is damaged before ", Place()));
    stored_ = header.size;
    wanted_ = header.size + TarPadding(header.size);
    state_ = State::kPax;
    return absl::OkStatus();
  }
  if (header.type != '0') return Bad("has something that is no file in it");
  if (pax_.empty()) return BeginMember(header.name, header.size);
  uint64_t stored = 0;
  if (!ToNumber(pax_["size"], &stored)) return Bad(absl::StrCat("is damaged before ", Place()));
  return BeginMember(pax_["GNU.sparse.name"], stored);
}

absl::Status ArchiveReader::TakePax() {
  const std::string collected = std::exchange(collected_, "");
  absl::string_view records = absl::string_view(collected).substr(0, stored_);
  if (!IsZero(absl::string_view(collected).substr(stored_))) return Bad(absl::StrCat("is damaged before ", Place()));
  while (!records.empty()) {
    const size_t space = records.find(' ');
    uint64_t length = 0;
    const bool fits = space != absl::string_view::npos && ToNumber(std::string(records.substr(0, space)), &length) &&
                      length > space + 1 && length <= records.size() && records[length - 1] == '\n';
    if (!fits) return Bad(absl::StrCat("is damaged before ", Place()));
    const absl::string_view record = records.substr(space + 1, length - space - 2);
    const size_t equals = record.find('=');
    if (equals == absl::string_view::npos) return Bad(absl::StrCat("is damaged before ", Place()));
    pax_[std::string(record.substr(0, equals))] = std::string(record.substr(equals + 1));
    records.remove_prefix(length);
  }
  if (pax_["GNU.sparse.major"] != "1" || pax_["GNU.sparse.minor"] != "0") {
    return Bad("was not written by `umlctl export`");
  }
  wanted_ = kTarBlock;
  state_ = State::kHeader;
  return absl::OkStatus();
}

absl::Status ArchiveReader::BeginMember(const std::string& name, uint64_t stored) {
  if (member_ >= expected_.size() || name != expected_[member_].first) {
    return Bad(absl::StrCat("has ", absl::CHexEscape(name.substr(0, 80)), " where ", Place(), " belongs"));
  }
  const bool document = name == kManifestFile || name == kChecksumsFile;
  if (document != pax_.empty()) return Bad(absl::StrCat("has ", name, " in a form that umld does not write"));
  stored_ = stored;
  taken_ = 0;
  sha_ = image::Sha256();
  if (document) {
    if (stored == 0 || stored > kMaxDocument) return Bad(absl::StrCat("has a ", name, " of ", stored, " bytes"));
    wanted_ = stored;
    state_ = State::kDocument;
    return absl::OkStatus();
  }
  uint64_t real_size = 0;
  if (!ToNumber(pax_["GNU.sparse.realsize"], &real_size) || real_size != expected_[member_].second) {
    return Bad(absl::StrCat("says of ", name, " two different sizes"));
  }
  numbers_.clear();
  digits_.clear();
  state_ = State::kMap;
  return absl::OkStatus();
}

absl::Status ArchiveReader::TakeDocument() {
  sha_.Add(collected_);
  taken_ = stored_;
  RETURN_IF_ERROR(member_ == 0 ? TakeManifest() : TakeChecksums());
  collected_.clear();
  padding_ = TarPadding(stored_);
  state_ = State::kPadding;
  return padding_ == 0 ? EndMember() : absl::OkStatus();
}

absl::Status ArchiveReader::TakeManifest() {
  RETURN_IF_ERROR(ParseJson(collected_, kManifestFile, &manifest_));
  RETURN_IF_ERROR(CheckManifest(manifest_));
  for (const v1::ArchivedImage& image : manifest_.images()) {
    if (!image.file().empty()) expected_.emplace_back(image.file(), image.size_bytes());
  }
  for (const v1::ArchivedDisk& disk : manifest_.disks()) expected_.emplace_back(disk.file(), disk.size_bytes());
  expected_.emplace_back(kChecksumsFile, 0);
  return sink_->TakeManifest(manifest_);
}

absl::Status ArchiveReader::TakeChecksums() const {
  v1::ArchiveChecksums said;
  RETURN_IF_ERROR(ParseJson(collected_, kChecksumsFile, &said));
  if (said.members_size() != seen_.members_size()) return Bad("has checksums of other files than are in it");
  for (int i = 0; i < seen_.members_size(); ++i) {
    const v1::ArchiveChecksums::Member &have = seen_.members(i), &should = said.members(i);
    if (have.file() == should.file() && have.stored_bytes() == should.stored_bytes() &&
        have.sha256() == should.sha256()) {
      continue;
    }
    return Bad(absl::StrCat("is damaged: ", have.file(), " is not what it was when it was written"));
  }
  return absl::OkStatus();
}

absl::Status ArchiveReader::TakeMap(absl::string_view* bytes) {
  size_t used = 0;
  bool complete = false;
  while (used < bytes->size() && !complete) {
    const char c = (*bytes)[used++];
    if (c >= '0' && c <= '9' && digits_.size() < kMaxDigits) {
      digits_.push_back(c);
      continue;
    }
    uint64_t number = 0;
    if (c != '\n' || !ToNumber(digits_, &number)) return Bad(absl::StrCat("has a damaged map of ", Place()));
    digits_.clear();
    RETURN_IF_ERROR(TakeNumber(number));
    complete = numbers_.size() == 1 + 2 * numbers_[0];
  }
  sha_.Add(bytes->substr(0, used));
  bytes->remove_prefix(used);
  taken_ += used;
  if (taken_ > stored_) return Bad(absl::StrCat("has a damaged map of ", Place()));
  return complete ? EndMap() : absl::OkStatus();
}

absl::Status ArchiveReader::TakeNumber(uint64_t number) {
  const uint64_t size = expected_[member_].second;
  const size_t index = numbers_.size();
  numbers_.push_back(number);
  bool fits = true;
  if (index == 0) {
    fits = number >= 1 && number <= kMaxExtents + 1;
  } else if (index % 2 == 1) {
    const uint64_t previous_end = index == 1 ? 0 : numbers_[index - 2] + numbers_[index - 1];
    fits = number >= previous_end && number <= size;
  } else {
    const bool last = index == 2 * numbers_[0];
    fits = number <= size - numbers_[index - 1] && (last ? number == 0 && numbers_[index - 1] == size : number > 0);
  }
  return fits ? absl::OkStatus() : Bad(absl::StrCat("has an impossible map of ", Place()));
}

// The map ends with its block; then come the extents, and nothing else.
absl::Status ArchiveReader::EndMap() {
  data_bytes_ = 0;
  for (size_t i = 2; i < numbers_.size(); i += 2) data_bytes_ += numbers_[i];
  padding_ = TarPadding(taken_);
  if (taken_ + padding_ + data_bytes_ != stored_) return Bad(absl::StrCat("has a map that is not that of ", Place()));
  extent_ = 0;
  extent_done_ = 0;
  state_ = State::kData;
  RETURN_IF_ERROR(sink_->BeginFile(expected_[member_].first, expected_[member_].second));
  return taken_ == stored_ ? NextExtent() : absl::OkStatus();
}

absl::Status ArchiveReader::TakeData(absl::string_view* bytes) {
  if (padding_ > 0) {
    const size_t some = std::min<uint64_t>(padding_, bytes->size());
    if (!IsZero(bytes->substr(0, some))) return Bad(absl::StrCat("has a damaged map of ", Place()));
    sha_.Add(bytes->substr(0, some));
    bytes->remove_prefix(some);
    taken_ += some;
    padding_ -= some;
    return padding_ == 0 && taken_ == stored_ ? NextExtent() : absl::OkStatus();
  }
  const uint64_t offset = numbers_[1 + 2 * extent_], size = numbers_[2 + 2 * extent_];
  const size_t some = std::min<uint64_t>(size - extent_done_, bytes->size());
  sha_.Add(bytes->substr(0, some));
  RETURN_IF_ERROR(sink_->Write(offset + extent_done_, bytes->substr(0, some)));
  bytes->remove_prefix(some);
  taken_ += some;
  extent_done_ += some;
  return extent_done_ == size ? NextExtent() : absl::OkStatus();
}

// The last one, which is empty, is the end of the file.
absl::Status ArchiveReader::NextExtent() {
  if (taken_ < stored_) {
    ++extent_;
    extent_done_ = 0;
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(sink_->EndFile());
  padding_ = TarPadding(stored_);
  state_ = State::kPadding;
  return padding_ == 0 ? EndMember() : absl::OkStatus();
}

absl::Status ArchiveReader::EndMember() {
  v1::ArchiveChecksums::Member* member = seen_.add_members();
  member->set_file(expected_[member_].first);
  member->set_stored_bytes(stored_);
  member->set_sha256(absl::BytesToHexString(sha_.Take()));
  pax_.clear();
  wanted_ = kTarBlock;
  padding_ = 0;
  state_ = ++member_ == expected_.size() ? State::kEnd : State::kHeader;
  return absl::OkStatus();
}

}  // namespace umld
