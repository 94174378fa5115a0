// libFuzzer: any bytes that are imported as an image, as an archive (the first byte is even) or as a container image
// that comes as one. What they become lies below its root and is no deeper than a path.
// Links with base/status.cc base/utf8.cc image/archive_reader.cc image/layers.cc image/sha256.cc image/tree.cc
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "image/archive_reader.h"
#include "image/entry.h"
#include "image/layers.h"
#include "image/tree.h"

namespace {

using umld::image::Entry;
using umld::image::EntryData;
using umld::image::EntrySource;
using umld::image::Node;
using umld::image::Tree;

// What is packed may be a thousand times as long.
constexpr size_t kMostContent = 16 << 20;

void Require(bool holds) {
  if (!holds) std::abort();
}

absl::Status ReadContent(EntryData& data, size_t* left) {
  uint64_t end = 0;
  while (true) {
    ASSIGN_OR_RETURN(const EntryData::Piece piece, data.Next());
    if (piece.bytes.empty()) return absl::OkStatus();
    end = piece.offset + piece.bytes.size();
    Require(end > piece.offset);
    // Whoever reads takes them as bytes of his own.
    const std::string copy(piece.bytes);
    if (copy.size() > *left) return absl::CancelledError("enough");
    *left -= copy.size();
  }
}

void CheckBelow(const Node& folder, size_t depth) {
  Require(depth <= 2048);
  for (const auto& [name, child] : folder.children) {
    Require(!name.empty() && name.size() <= 255 && name != "." && name != ".." && name.find('/') == std::string::npos);
    Require(child->target.empty() == !S_ISLNK(child->mode) && child->target.size() < 4096);
    Require(child->children.empty() || child->IsFolder());
    CheckBelow(*child, depth + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const bool is_container = bytes[0] % 2 != 0;
  const umld::UniqueFd file(memfd_create("source", MFD_CLOEXEC));
  Require(write(file.get(), bytes + 1, size - 1) == static_cast<ssize_t>(size - 1));
  std::vector<std::unique_ptr<EntrySource>> layers;
  if (is_container) {
    auto found = umld::image::FindLayers(file.get(), nullptr);
    if (!found.ok()) return 0;
    layers = *std::move(found);
  } else {
    layers.push_back(umld::image::ArchiveSource(file.get(), nullptr));
  }
  Tree tree;
  size_t left = kMostContent;
  for (size_t i = 0; i < layers.size(); ++i) {
    const absl::Status status = layers[i]->ForEach([&](const Entry& entry, EntryData& data) -> absl::Status {
      RETURN_IF_ERROR(tree.Add(static_cast<int>(i), is_container, entry).status());
      return ReadContent(data, &left);
    });
    if (!status.ok()) break;
  }
  Require(tree.root()->IsFolder());
  CheckBelow(*tree.root(), 0);
  return 0;
}
