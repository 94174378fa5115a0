// libFuzzer: any bytes as a disk or a volume, as a guest or a stranger may have left them: which filesystem is on it,
// and whether that is at risk behind a COW file.
// Links with base/byte_size.cc base/file.cc base/process.cc base/status.cc base/utf8.cc devices/disk/partition_table.cc
// Links with image/tool.cc umld/cow_risk.cc umld/volume_content.cc
// Links with proto/umld/v1/volumes.proto proto/umld/v1/resources.proto
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "umld/cow_risk.h"
#include "umld/volume_content.h"

namespace {

constexpr size_t kMostRead = 64 * 1024;

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckFormat(umld::v1::VolumeFormat format, absl::string_view bytes) {
  if (format == umld::v1::VOLUME_EXT4) {
    Require(bytes.size() >= 2048 && bytes.substr(1080, 2) == "\x53\xef");
  } else if (format == umld::v1::VOLUME_SWAP) {
    Require(bytes.size() >= 4096 && bytes.substr(4086, 10) == "SWAPSPACE2");
  } else {
    Require(format == umld::v1::VOLUME_FORMAT_UNSPECIFIED);
  }
}

// The read with the number `failing` fails.
void CheckRisk(absl::string_view bytes, size_t failing) {
  size_t reads = 0, asked = 0;
  const std::string risk = umld::CowRisk(bytes.size(), [&](uint64_t offset, size_t wanted) {
    Require(wanted <= kMostRead);
    asked += wanted;
    if (reads++ == failing) return absl::StatusOr<std::string>(absl::DataLossError("as a bad sector"));
    return absl::StatusOr<std::string>(offset < bytes.size() ? std::string(bytes.substr(offset, wanted)) : "");
  });
  Require(reads <= 400 && asked <= size_t{1} << 20);
  Require(risk.empty() || (absl::StartsWith(risk, "AT RISK: ") && risk.size() < 300));
  for (unsigned char c : risk) Require(absl::ascii_isprint(c));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const umld::UniqueFd fd(memfd_create("volume", MFD_CLOEXEC));
  Require(ftruncate(fd.get(), 0) == 0 && pwrite(fd.get(), data, size, 0) == static_cast<ssize_t>(size));
  CheckFormat(umld::DetectVolumeFormat(fd.get()), bytes);
  for (size_t failing : {SIZE_MAX, size_t{0}, size_t{1}, size_t{2}}) CheckRisk(bytes, failing);
  return 0;
}
