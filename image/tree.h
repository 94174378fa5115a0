#ifndef UMLD_IMAGE_TREE_H_
#define UMLD_IMAGE_TREE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "image/entry.h"

namespace umld::image {

// One file of a Tree. Several names of one file share it.
struct Node {
  mode_t mode = 0;
  uint32_t uid = 0, gid = 0;
  int64_t mtime = 0;
  uint32_t mtime_nsec = 0;
  uint64_t size = 0;
  uint32_t major = 0, minor = 0;
  uint64_t blocks = 0;  // of 4 KiB that its content needs, for whoever writes the tree
  uint32_t inode = 0;   // the same
  int touched = 0;      // the last layer that has it or something below it
  int cleared = 0;      // of a folder: the last layer that has removed what lower ones have below it
  std::string target;
  std::unique_ptr<std::vector<std::pair<std::string, std::string>>> xattrs;  // null: none
  std::map<std::string, std::shared_ptr<Node>, std::less<>> children;        // of a folder
  bool IsFolder() const;
};

// A root filesystem as it will be, put together from the entries of one or more layers, in memory and without content.
// Everything in it lies below its root, whatever the entries say. Pure.
class Tree {
 public:
  Tree();

  // The entry of a layer; later ones replace earlier ones. `layered`: names with .wh. remove what lower layers have
  // (OCI whiteouts). Returns the node that it made, null when there is none of its own (a hard link, a whiteout, the
  // root). kInvalidArgument BAD_ENTRY: a path with "..", a name over 255 bytes, a hard link to nothing, ...
  // kInvalidArgument TOO_MANY_FILES: more than 4 million entries, or as much work as that.
  absl::StatusOr<std::shared_ptr<Node>> Add(int layer, bool layered, const Entry& entry);

  const std::shared_ptr<Node>& root() const { return root_; }
  bool empty() const { return root_->children.empty(); }

 private:
  struct Place {
    Node* folder = nullptr;
    std::string name;  // empty: the root itself
  };
  absl::StatusOr<Place> Find(absl::string_view path, int layer, bool make);
  absl::Status Count(uint64_t bytes);
  static void RemoveLower(Node& folder, int layer);

  std::shared_ptr<Node> root_;
  uint64_t nodes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t steps_ = 0;  // of all ways to entries
};

}  // namespace umld::image

#endif  // UMLD_IMAGE_TREE_H_
