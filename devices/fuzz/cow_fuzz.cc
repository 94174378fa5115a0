// libFuzzer: any bytes as a COW file, as a guest may have left them. A header that is accepted makes sense, and the
// disk that is read through it, partitions and all, is as large as its backing file and made of the two files' bytes.
// Links with base/host_path.cc base/status.cc base/utf8.cc devices/spec_text.cc
// Links with devices/disk/cow.cc devices/disk/disk_inspect.cc
// Links with devices/disk/disk_reader.cc devices/disk/disk_spec.cc devices/disk/open_disk.cc
// Links with devices/disk/partition_table.cc
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_reader.h"
#include "devices/disk/partition_table.h"

namespace {

using namespace umld::devices;  // NOLINT: all of it is under test

constexpr uint64_t kMostBacking = uint64_t{1} << 30;
constexpr uint32_t kMostRead = 64 * 1024;

void Require(bool holds) {
  if (!holds) std::abort();
}

// Of this process; removed with it.
class Folder {
 public:
  Folder() { Require(mkdtemp(path_.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string At(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/cow_fuzz.XXXXXX";
};

void Read(const DiskReader& reader, uint64_t offset, size_t size) {
  const auto bytes = reader.Read(offset, size);
  const uint64_t left = reader.size_bytes() - std::min(offset, reader.size_bytes());
  Require(bytes.ok() && bytes->size() == std::min<uint64_t>(size, left));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto header = ParseCowHeader(bytes);
  uint64_t backing_bytes = 64 * 1024;
  if (header.ok() && header->has_value()) {
    const CowHeader& accepted = **header;
    const CowLayout layout = LayOutCow(accepted);
    Require(layout.bitmap_offset >= kCowHeaderBytes && layout.data_offset <= INT32_MAX);
    Require(layout.data_offset >= layout.bitmap_offset + layout.bitmap_bytes);
    Require(layout.bitmap_bytes >= accepted.size / 512 / 8 && layout.file_bytes > accepted.size);
    const auto again = ParseCowHeader(SerializeCowHeader(accepted));
    Require(again.ok() && again->has_value() && (*again)->backing == accepted.backing);
    backing_bytes = accepted.size;
  }

  static const Folder folder;
  const std::string cow_path = folder.At("cow"), backing_path = folder.At("backing");
  constexpr int kNew = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
  const umld::UniqueFd cow(open(cow_path.c_str(), kNew, 0600)), backing(open(backing_path.c_str(), kNew, 0600));
  Require(write(cow.get(), data, size) == static_cast<ssize_t>(size));
  if (backing_bytes > kMostBacking || ftruncate(backing.get(), static_cast<off_t>(backing_bytes)) != 0) return 0;
  // That there is something to be tested.
  Require(InspectDisk({0, "", backing_path, "", ""}).ok());
  const DiskSpec spec = {0, "", cow_path, backing_path, ""};
  (void)InspectDisk(spec);
  (void)InspectDisk({0, "", cow_path, "", ""});
  (void)InspectDisk({0, "d", cow_path, "", ""});
  const auto reader = DiskReader::Open(spec);
  if (!reader.ok()) return 0;
  Require(reader->file_bytes() == backing_bytes);
  for (uint64_t offset : {uint64_t{0}, uint64_t{511}, backing_bytes / 2, backing_bytes - 1, UINT64_MAX}) {
    Read(*reader, offset, 1000);
  }
  const auto read = [&](uint64_t offset, size_t wanted) {
    Require(wanted <= kMostRead);
    return reader->Read(offset, wanted);
  };
  Require(ReadPartitionTable(reader->size_bytes(), read).ok());
  return 0;
}
