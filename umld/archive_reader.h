#ifndef UMLD_UMLD_ARCHIVE_READER_H_
#define UMLD_UMLD_ARCHIVE_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "image/sha256.h"
#include "umld/archive_format.h"
#include "umld/v1/transfer.pb.h"

namespace umld {

// Who takes what an archive has. An error from any of these ends the reading with it.
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;
  // First, once. The names, sizes and references in it have been checked; what it says of the guest has not.
  virtual absl::Status TakeManifest(const v1::GuestArchive& manifest) = 0;
  // A disk or an image, in the manifest's order: its parts that are no holes, ascending, within `size`.
  virtual absl::Status BeginFile(const std::string& file, uint64_t size) = 0;
  virtual absl::Status Write(uint64_t offset, absl::string_view bytes) = 0;
  virtual absl::Status EndFile() = 0;
};

// Reads a guest's archive as it arrives, from a stranger: what is not exactly as umld writes it is refused, and nothing
// is kept of it but two small documents and a map of at most kMaxExtents extents. Every byte is looked at: one that was
// changed or is missing is found at the latest by Finish. Pure, but for the sink.
class ArchiveReader {
 public:
  // `sink` outlives it.
  explicit ArchiveReader(ArchiveSink* sink) : sink_(sink) {}

  // Any number of bytes. kInvalidArgument BAD_ARCHIVE, or the sink's error; after one, no more is fed.
  absl::Status Feed(absl::string_view bytes);
  // Nothing more comes. OK: the archive was whole.
  absl::Status Finish() const;

 private:
  enum class State { kHeader, kPax, kDocument, kMap, kData, kPadding, kEnd };

  absl::Status Step(absl::string_view* bytes);
  // Moves from `bytes` into `collected_` until that has `wanted_`; true when it does.
  bool Collect(absl::string_view* bytes);
  absl::Status TakeHeader();
  absl::Status TakePax();
  absl::Status BeginMember(const std::string& name, uint64_t stored);
  absl::Status TakeDocument();
  absl::Status TakeManifest();
  absl::Status TakeChecksums() const;
  absl::Status TakeMap(absl::string_view* bytes);
  absl::Status TakeNumber(uint64_t number);
  absl::Status EndMap();
  absl::Status TakeData(absl::string_view* bytes);
  absl::Status NextExtent();
  absl::Status EndMember();
  // What is read now, for errors.
  std::string Place() const;

  ArchiveSink* const sink_;
  State state_ = State::kHeader;
  std::string collected_;
  size_t wanted_ = kTarBlock;
  uint64_t fed_ = 0;
  uint64_t padding_ = 0;  // zeros to come; kEnd: zeros seen

  v1::GuestArchive manifest_;
  // The members to come after the manifest, with the sizes of their files; the checksums are the last.
  std::vector<std::pair<std::string, uint64_t>> expected_ = {{kManifestFile, 0}};
  size_t member_ = 0;  // of expected_
  std::map<std::string, std::string> pax_;
  v1::ArchiveChecksums seen_;

  // Of the present member.
  uint64_t stored_ = 0, taken_ = 0;
  image::Sha256 sha_;
  std::vector<uint64_t> numbers_;  // of its map: how many extents, then offset and size of each
  std::string digits_;
  uint64_t data_bytes_ = 0;
  size_t extent_ = 0;
  uint64_t extent_done_ = 0;
};

}  // namespace umld

#endif  // UMLD_UMLD_ARCHIVE_READER_H_
