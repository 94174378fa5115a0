#include "image/tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::image {
namespace {

constexpr size_t kMaxName = 255, kMaxPath = 4096;
constexpr int kMaxLinks = 40;
// As deep as a path of that length leads. Symbolic links could lead deeper than the stack of those who walk the tree.
constexpr size_t kMaxDepth = kMaxPath / 2;
constexpr uint64_t kMaxNodes = 4000000, kMaxBytes = uint64_t{1} << 30;
// Forty links of 4,096 bytes lead over 80,000 folders.
constexpr uint64_t kMaxSteps = 400000000;
constexpr uint64_t kMaxFile = (uint64_t{1} << 44) - 4096;  // of ext4 with blocks of 4 KiB
constexpr absl::string_view kWhiteout = ".wh.", kOpaque = ".wh..wh..opq";

absl::Status BadEntry(absl::string_view path, absl::string_view why) {
  const std::string shown = absl::CHexEscape(path.substr(0, 200));
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", shown, "\" ", why),
                   {"BAD_ENTRY", shown, "make the archive anew, without that file"});
}

}  // namespace

bool Node::IsFolder() const { return S_ISDIR(mode); }

Tree::Tree() : root_(std::make_shared<Node>()) { root_->mode = S_IFDIR | 0755; }

absl::Status Tree::Count(uint64_t bytes) {
  bytes_ += bytes + sizeof(Node);
  if (++nodes_ <= kMaxNodes && bytes_ <= kMaxBytes && steps_ <= kMaxSteps) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "there are too many files in it to be a root filesystem",
                   {"TOO_MANY_FILES", "", "import a part of it"});
}

// Symbolic links on the way are followed inside the tree, as they would be in the guest.
absl::StatusOr<Tree::Place> Tree::Find(absl::string_view path, int layer, bool make) {
  if (path.size() > kMaxPath) return BadEntry(path, "is a path of more than 4,096 bytes");
  std::deque<std::string> left;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") return BadEntry(path, "climbs with \"..\"");
    if (part.size() > kMaxName) return BadEntry(path, "has a name of more than 255 bytes");
    left.emplace_back(part);
  }
  std::vector<Node*> way = {root_.get()};
  int links = 0;
  while (!left.empty()) {
    ++steps_;
    const std::string part = left.front();
    left.pop_front();
    // Only symbolic links say these; they lead no higher than the root.
    if (part == ".") continue;
    if (part == "..") {
      if (way.size() > 1) way.pop_back();
      continue;
    }
    if (make) way.back()->touched = std::max(way.back()->touched, layer);
    if (left.empty()) return Place{way.back(), part};
    auto found = way.back()->children.find(part);
    if (found == way.back()->children.end()) {
      if (!make) return BadEntry(path, "is not in it");
      if (part.size() > kMaxName)
        return BadEntry(path, "lies behind a symbolic link with a name of more than 255 bytes");
      RETURN_IF_ERROR(Count(part.size()));
      auto folder = std::make_shared<Node>();
      folder->mode = S_IFDIR | 0755;
      folder->touched = layer;
      found = way.back()->children.emplace(part, std::move(folder)).first;
    }
    Node* const next = found->second.get();
    if (S_ISLNK(next->mode)) {
      if (++links > kMaxLinks) return BadEntry(path, "lies behind too many symbolic links");
      if (absl::StartsWith(next->target, "/")) way.resize(1);
      const std::vector<std::string> parts = absl::StrSplit(next->target, '/', absl::SkipEmpty());
      left.insert(left.begin(), parts.begin(), parts.end());
      continue;
    }
    if (!next->IsFolder()) {
      return BadEntry(path, absl::StrCat("lies below \"", absl::CHexEscape(part), "\", which is no folder"));
    }
    if (way.size() == kMaxDepth) return BadEntry(path, absl::StrCat("lies more than ", kMaxDepth, " folders deep"));
    way.push_back(next);
  }
  return Place{root_.get(), ""};
}

void Tree::RemoveLower(Node& folder, int layer) {
  // What the same layer has added since is its own.
  if (std::exchange(folder.cleared, layer) == layer) return;
  for (auto child = folder.children.begin(); child != folder.children.end();) {
    if (child->second->touched < layer) {
      child = folder.children.erase(child);
      continue;
    }
    if (child->second->IsFolder()) RemoveLower(*child->second, layer);
    ++child;
  }
}

absl::StatusOr<std::shared_ptr<Node>> Tree::Add(int layer, bool layered, const Entry& entry) {
  const absl::StatusOr<Place> where = Find(entry.path, layer, /*make=*/true);
  if (!where.ok()) return where.status();
  const Place& place = *where;
  if (layered && absl::StartsWith(place.name, kWhiteout)) {
    RETURN_IF_ERROR(Count(0));
    if (place.name == kOpaque) {
      RemoveLower(*place.folder, layer);
    } else if (auto found = place.folder->children.find(absl::StripPrefix(place.name, kWhiteout));
               found != place.folder->children.end()) {
      if (found->second->touched < layer) {
        place.folder->children.erase(found);
      } else if (found->second->IsFolder()) {
        RemoveLower(*found->second, layer);
      }
    }
    return nullptr;
  }
  if (!entry.hard_link.empty()) {
    if (place.name.empty()) return BadEntry(entry.path, "is a hard link in the place of the root");
    ASSIGN_OR_RETURN(const Place from, Find(entry.hard_link, layer, /*make=*/false));
    auto found = from.folder->children.find(from.name);
    if (from.name.empty() || found == from.folder->children.end()) {
      return BadEntry(entry.path, absl::StrCat("is a hard link to \"", absl::CHexEscape(entry.hard_link.substr(0, 200)),
                                               "\", which is not in it"));
    }
    if (found->second->IsFolder()) return BadEntry(entry.path, "is a hard link to a folder");
    RETURN_IF_ERROR(Count(place.name.size()));
    std::shared_ptr<Node> shared = found->second;
    shared->touched = layer;
    place.folder->children[place.name] = std::move(shared);
    return nullptr;
  }
  switch (entry.mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      break;
    default:
      return BadEntry(entry.path, "is of a kind that no Linux knows");
  }
  if (S_ISREG(entry.mode) && entry.size > kMaxFile) return BadEntry(entry.path, "is larger than 16 TiB");
  if (S_ISLNK(entry.mode) &&
      (entry.target.empty() || entry.target.size() >= kMaxPath || absl::StrContains(entry.target, '\0'))) {
    return BadEntry(entry.path, "is a symbolic link to nothing, or to more than 4,095 bytes");
  }
  uint64_t bytes = place.name.size() + entry.target.size();
  for (const auto& [name, value] : entry.xattrs) bytes += name.size() + value.size() + 64;
  RETURN_IF_ERROR(Count(bytes));
  if (place.name.empty() && !S_ISDIR(entry.mode)) return BadEntry(entry.path, "is in the place of the root");
  std::shared_ptr<Node> node = place.name.empty() ? root_ : nullptr;
  if (node == nullptr) {
    std::shared_ptr<Node>& child = place.folder->children[place.name];
    // A folder keeps what is in it; of all else the last entry counts.
    if (child == nullptr || !S_ISDIR(entry.mode) || !child->IsFolder()) child = std::make_shared<Node>();
    node = child;
  }
  node->mode = entry.mode & (S_IFMT | 07777);
  node->uid = entry.uid;
  node->gid = entry.gid;
  node->mtime = entry.mtime;
  node->mtime_nsec = entry.mtime_nsec;
  node->size = S_ISREG(entry.mode) ? entry.size : 0;
  node->major = entry.major;
  node->minor = entry.minor;
  node->touched = layer;
  node->target = S_ISLNK(entry.mode) ? entry.target : "";
  node->xattrs.reset();
  if (!entry.xattrs.empty()) {
    node->xattrs = std::make_unique<std::vector<std::pair<std::string, std::string>>>(entry.xattrs);
  }
  return node;
}

}  // namespace umld::image
