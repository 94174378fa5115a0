// libFuzzer: any bytes that arrive as a guest's archive; the first byte says in what pieces they come.
// Links with base/status.cc base/utf8.cc image/sha256.cc umld/archive_format.cc umld/archive_reader.cc
// Links with proto/umld/v1/transfer.proto proto/umld/v1/resources.proto
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "umld/archive_reader.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// Whoever writes files by what this is told must not be led anywhere.
class Sink final : public umld::ArchiveSink {
 public:
  absl::Status TakeManifest(const umld::v1::GuestArchive& manifest) override {
    Require(!manifest_.has_value());
    manifest_ = manifest;
    return absl::OkStatus();
  }
  absl::Status BeginFile(const std::string& file, uint64_t size) override {
    Require(manifest_.has_value() && !open_ && size > 0 && size <= umld::kMaxArchivedFile);
    bool known = false;
    for (const auto& disk : manifest_->disks()) known |= disk.file() == file && disk.size_bytes() == size;
    for (const auto& image : manifest_->images()) known |= image.file() == file && image.size_bytes() == size;
    Require(known && file.find("..") == std::string::npos);
    size_ = size;
    end_ = 0;
    open_ = true;
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, absl::string_view bytes) override {
    Require(open_ && offset >= end_ && offset <= size_ && bytes.size() <= size_ - offset);
    end_ = offset + bytes.size();
    return absl::OkStatus();
  }
  absl::Status EndFile() override {
    Require(open_);
    open_ = false;
    return absl::OkStatus();
  }

 private:
  std::optional<umld::v1::GuestArchive> manifest_;
  bool open_ = false;
  uint64_t size_ = 0, end_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = data[0] == 0 ? size : data[0];
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Sink sink;
  umld::ArchiveReader reader(&sink);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!reader.Feed(bytes.substr(at, piece)).ok()) return 0;
  }
  (void)reader.Finish();
  return 0;
}
