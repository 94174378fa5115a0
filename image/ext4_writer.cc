#include "image/ext4_writer.h"

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "image/tool.h"

namespace umld::image {
namespace {

constexpr uint32_t kBlock = Ext4Writer::kBlock;
constexpr uint32_t kLostAndFound = 11;
constexpr uint32_t kFirstInode = 12;
constexpr uint32_t kMaxLinks = 65000;   // EXT4_LINK_MAX
constexpr uint32_t kMaxExtent = 32768;  // blocks
constexpr size_t kWriteBlocks = 256;
// What every kernel since 4.x mounts, whatever the newest mke2fs would turn on.
constexpr char kFeatures[] =
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize";
constexpr uint64_t kLeastRoom = uint64_t{1} << 30;
constexpr uint64_t kLargest = uint64_t{1} << 43;  // UML's COW files are for 8 TiB at most

uint64_t DivideUp(uint64_t value, uint64_t by) { return (value + by - 1) / by; }

absl::Status Ext2Error(errcode_t error, absl::string_view what) {
  if (error == EXT2_ET_BLOCK_ALLOC_FAIL || error == EXT2_ET_INODE_ALLOC_FAIL) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(what, ": the filesystem is full"),
                     {"DOES_NOT_FIT", "", "give a larger --size"});
  }
  if (error == EXT2_ET_EA_NO_SPACE || error == EXT2_ET_EA_KEY_NOT_FOUND) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(what, ": its extended attributes do not fit into a block of ext4"),
                     {"BAD_ENTRY", "", "make the archive anew, without them"});
  }
  if (error > 0 && error < 256) return ErrnoError(static_cast<int>(error), what);
  return MakeError(absl::StatusCode::kInternal, absl::StrCat(what, ": ", error_message(error)),
                   {"EXT2FS", "", "check the free space, and report this"});
}

#define RETURN_IF_EXT2_ERROR(expr, what)                        \
  do {                                                          \
    if (const errcode_t ext2_error = (expr); ext2_error != 0) { \
      return Ext2Error(ext2_error, what);                       \
    }                                                           \
  } while (false)

uint8_t TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return EXT2_FT_REG_FILE;
    case S_IFDIR:
      return EXT2_FT_DIR;
    case S_IFLNK:
      return EXT2_FT_SYMLINK;
    case S_IFCHR:
      return EXT2_FT_CHRDEV;
    case S_IFBLK:
      return EXT2_FT_BLKDEV;
    case S_IFIFO:
      return EXT2_FT_FIFO;
    default:
      return EXT2_FT_SOCK;
  }
}

// The blocks of a folder, entry by entry.
class FolderBlocks {
 public:
  void Add(uint32_t inode, absl::string_view name, uint8_t type) {
    const size_t length = DivideUp(8 + name.size(), 4) * 4;
    if (bytes_.empty() || used_ + length > kBlock) {
      End();
      bytes_.resize(bytes_.size() + kBlock);
      used_ = 0;
    }
    last_ = bytes_.size() - kBlock + used_;
    char* const at = &bytes_[last_];
    Put(at, inode, 4);
    Put(at + 4, static_cast<uint32_t>(length), 2);
    at[6] = static_cast<char>(name.size());
    at[7] = static_cast<char>(type);
    name.copy(at + 8, name.size());
    used_ += length;
  }
  // The last entry of a block reaches to the block's end.
  const std::string& End() {
    if (!bytes_.empty()) Put(&bytes_[last_ + 4], static_cast<uint32_t>(bytes_.size() - last_), 2);
    return bytes_;
  }

 private:
  static void Put(char* at, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) at[i] = static_cast<char>(value >> (8 * i));
  }
  std::string bytes_;
  size_t used_ = 0, last_ = 0;
};

// Files, folders and all; each once, whatever the number of its names.
struct Census {
  uint64_t inodes = 0;
  uint64_t blocks = 0;  // of folders, long links and attributes
};

struct NameCount {
  uint32_t names = 0;
  bool written = false;
};

bool IsLostAndFound(const Node& folder, const Node& root, absl::string_view name) {
  return &folder == &root && name == "lost+found";
}

class Ext4WriterImpl final : public Ext4Writer {
 public:
  explicit Ext4WriterImpl(ext2_filsys fs) : fs_(fs), cursor_(fs->super->s_first_data_block) {}
  ~Ext4WriterImpl() override {
    if (fs_ != nullptr) ext2fs_free(fs_);
  }

  absl::Status WriteTree(const Tree& tree);
  absl::Status WriteContent(const Node& node, EntryData& data) override;
  absl::Status Finish() override {
    ext2_filsys fs = std::exchange(fs_, nullptr);
    if (const errcode_t error = ext2fs_close(fs); error != 0) {
      ext2fs_free(fs);
      return Ext2Error(error, "write the filesystem");
    }
    return absl::OkStatus();
  }

 private:
  using Extents = std::vector<ext2fs_extent>;

  ext2_inode* Plain(ext2_inode_large& inode) { return reinterpret_cast<ext2_inode*>(&inode); }
  ext2_inode_large NewInode(const Node& node, uint32_t links) const;
  absl::Status Number(Node& folder, const Node& root);
  absl::Status WriteNodes(Node& folder, uint32_t parent, const Node& root);
  absl::Status WriteNode(const Node& node, uint32_t number, const std::string& name);
  absl::Status WriteFolder(Node& folder, uint32_t number, uint32_t parent, bool is_root);
  absl::Status WriteInode(const Node& node, uint32_t number, ext2_inode_large& inode, absl::string_view name);
  absl::Status Append(absl::string_view bytes, uint64_t block, Extents& extents);
  absl::Status SetExtents(uint32_t number, ext2_inode_large& inode, const Extents& extents);
  absl::Status FreeRootBlocks();

  ext2_filsys fs_;
  blk64_t cursor_;
  uint32_t next_inode_ = kFirstInode;
  std::map<const Node*, NameCount> names_;  // of files that have several
};

ext2_inode_large Ext4WriterImpl::NewInode(const Node& node, uint32_t links) const {
  ext2_inode_large inode = {};
  inode.i_mode = static_cast<uint16_t>(node.mode);
  inode.i_uid = static_cast<uint16_t>(node.uid);
  inode.i_gid = static_cast<uint16_t>(node.gid);
  inode.osd2.linux2.l_i_uid_high = static_cast<uint16_t>(node.uid >> 16);
  inode.osd2.linux2.l_i_gid_high = static_cast<uint16_t>(node.gid >> 16);
  inode.i_links_count = static_cast<uint16_t>(links);
  inode.i_extra_isize = sizeof(ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
  // 34 bits of seconds, from 1901 on.
  const int64_t time = std::clamp<int64_t>(node.mtime, INT32_MIN, (int64_t{1} << 34) + INT32_MIN - 1);
  const auto low = static_cast<uint32_t>(time);
  const auto extra = static_cast<uint32_t>((((time - static_cast<int32_t>(low)) >> 32) & 3) |
                                           (std::min<uint32_t>(node.mtime_nsec, 999999999) << 2));
  inode.i_atime = inode.i_ctime = inode.i_mtime = inode.i_crtime = low;
  inode.i_atime_extra = inode.i_ctime_extra = inode.i_mtime_extra = inode.i_crtime_extra = extra;
  return inode;
}

// Numbers in the order of the tree, and counts names.
absl::Status Ext4WriterImpl::Number(Node& folder, const Node& root) {
  for (auto& [name, child] : folder.children) {
    if (IsLostAndFound(folder, root, name)) continue;
    if (child.use_count() > 1) {
      if (++names_[child.get()].names > kMaxLinks) {
        return MakeError(absl::StatusCode::kInvalidArgument, "a file in it has more than 65,000 names",
                         {"BAD_ENTRY", name, "make the archive anew, without those hard links"});
      }
    }
    if (child->inode != 0) continue;
    if (next_inode_ > fs_->super->s_inodes_count) return Ext2Error(EXT2_ET_INODE_ALLOC_FAIL, name);
    child->inode = next_inode_++;
    ext2fs_inode_alloc_stats2(fs_, child->inode, +1, child->IsFolder() ? 1 : 0);
    if (child->IsFolder()) RETURN_IF_ERROR(Number(*child, root));
  }
  return absl::OkStatus();
}

absl::Status Ext4WriterImpl::WriteTree(const Tree& tree) {
  Node& root = *tree.root();
  root.inode = EXT2_ROOT_INO;
  RETURN_IF_ERROR(Number(root, root));
  RETURN_IF_ERROR(FreeRootBlocks());
  return WriteNodes(root, EXT2_ROOT_INO, root);
}

absl::Status Ext4WriterImpl::FreeRootBlocks() {
  ext2_inode inode = {};
  RETURN_IF_EXT2_ERROR(ext2fs_read_inode(fs_, EXT2_ROOT_INO, &inode), "read the root");
  const uint64_t blocks = DivideUp(inode.i_size, kBlock);
  for (uint64_t i = 0; i < blocks; ++i) {
    blk64_t block = 0;
    RETURN_IF_EXT2_ERROR(ext2fs_bmap2(fs_, EXT2_ROOT_INO, &inode, nullptr, 0, i, nullptr, &block), "read the root");
    if (block != 0) ext2fs_block_alloc_stats2(fs_, block, -1);
  }
  return absl::OkStatus();
}

absl::Status Ext4WriterImpl::WriteNodes(Node& folder, uint32_t parent, const Node& root) {
  RETURN_IF_ERROR(WriteFolder(folder, folder.inode, parent, &folder == &root));
  for (auto& [name, child] : folder.children) {
    if (IsLostAndFound(folder, root, name)) continue;
    if (child->IsFolder()) {
      RETURN_IF_ERROR(WriteNodes(*child, folder.inode, root));
    } else {
      RETURN_IF_ERROR(WriteNode(*child, child->inode, name));
    }
  }
  return absl::OkStatus();
}

absl::Status Ext4WriterImpl::WriteFolder(Node& folder, uint32_t number, uint32_t parent, bool is_root) {
  FolderBlocks blocks;
  blocks.Add(number, ".", EXT2_FT_DIR);
  blocks.Add(parent, "..", EXT2_FT_DIR);
  uint64_t folders = 0;
  if (is_root) {
    blocks.Add(kLostAndFound, "lost+found", EXT2_FT_DIR);
    ++folders;
  }
  for (const auto& [name, child] : folder.children) {
    if (is_root && name == "lost+found") continue;
    blocks.Add(child->inode, name, TypeOf(child->mode));
    folders += child->IsFolder() ? 1 : 0;
  }
  // With dir_nlink, 1 says "too many to count".
  ext2_inode_large inode = NewInode(folder, folders + 2 >= kMaxLinks ? 1 : static_cast<uint32_t>(folders) + 2);
  const std::string& bytes = blocks.End();
  Extents extents;
  RETURN_IF_ERROR(Append(bytes, 0, extents));
  RETURN_IF_EXT2_ERROR(ext2fs_inode_size_set(fs_, Plain(inode), static_cast<ext2_off64_t>(bytes.size())), "a folder");
  RETURN_IF_ERROR(SetExtents(number, inode, extents));
  return WriteInode(folder, number, inode, "a folder");
}

absl::Status Ext4WriterImpl::WriteNode(const Node& node, uint32_t number, const std::string& name) {
  const auto counted = names_.find(&node);
  if (counted != names_.end() && std::exchange(counted->second.written, true)) return absl::OkStatus();
  ext2_inode_large inode = NewInode(node, counted == names_.end() ? 1 : counted->second.names);
  switch (node.mode & S_IFMT) {
    case S_IFLNK:
      inode.i_size = static_cast<uint32_t>(node.target.size());
      if (node.target.size() < sizeof(inode.i_block)) {
        std::memcpy(inode.i_block, node.target.data(), node.target.size());
      } else {
        Extents extents;
        RETURN_IF_ERROR(Append(node.target, 0, extents));
        RETURN_IF_ERROR(SetExtents(number, inode, extents));
      }
      break;
    case S_IFCHR:
    case S_IFBLK:
      if (node.major < 256 && node.minor < 256) {
        inode.i_block[0] = (node.major << 8) | node.minor;
      } else {
        inode.i_block[1] = (node.minor & 0xff) | ((node.major & 0xfff) << 8) | ((node.minor & ~0xffu) << 12);
      }
      break;
    case S_IFREG:
      RETURN_IF_ERROR(SetExtents(number, inode, {}));
      break;
    default:
      break;
  }
  return WriteInode(node, number, inode, name);
}

absl::Status Ext4WriterImpl::WriteInode(const Node& node, uint32_t number, ext2_inode_large& inode,
                                        absl::string_view name) {
  RETURN_IF_EXT2_ERROR(ext2fs_write_inode_full(fs_, number, Plain(inode), sizeof(inode)), name);
  if (node.xattrs == nullptr) return absl::OkStatus();
  ext2_xattr_handle* handle = nullptr;
  RETURN_IF_EXT2_ERROR(ext2fs_xattrs_open(fs_, number, &handle), name);
  errcode_t error = ext2fs_xattrs_read(handle);
  for (const auto& [key, value] : *node.xattrs) {
    if (error == 0) error = ext2fs_xattr_set(handle, key.c_str(), value.data(), value.size());
  }
  const errcode_t closed = ext2fs_xattrs_close(&handle);
  RETURN_IF_EXT2_ERROR(error != 0 ? error : closed, name);
  return absl::OkStatus();
}

// `bytes` from logical block `block` on; the last one is filled up with zeros.
absl::Status Ext4WriterImpl::Append(absl::string_view bytes, uint64_t block, Extents& extents) {
  std::string padded;
  if (bytes.size() % kBlock != 0) {
    padded = std::string(bytes);
    padded.resize(DivideUp(bytes.size(), kBlock) * kBlock);
    bytes = padded;
  }
  const blk64_t last = ext2fs_blocks_count(fs_->super) - 1;
  while (!bytes.empty()) {
    blk64_t start = 0, taken = 0;
    errcode_t error = ext2fs_find_first_zero_block_bitmap2(fs_->block_map, cursor_, last, &start);
    if (error == ENOENT) {
      cursor_ = fs_->super->s_first_data_block;
      error = ext2fs_find_first_zero_block_bitmap2(fs_->block_map, cursor_, last, &start);
      if (error == ENOENT) error = EXT2_ET_BLOCK_ALLOC_FAIL;
    }
    RETURN_IF_EXT2_ERROR(error, "write");
    const blk64_t most = std::min<blk64_t>(start + bytes.size() / kBlock - 1, last);
    error = ext2fs_find_first_set_block_bitmap2(fs_->block_map, start, most, &taken);
    const uint64_t count = error == ENOENT ? most - start + 1 : taken - start;
    if (error != ENOENT) RETURN_IF_EXT2_ERROR(error, "write");
    ext2fs_block_alloc_stats_range(fs_, start, static_cast<blk_t>(count), +1);
    cursor_ = start + count;
    RETURN_IF_EXT2_ERROR(io_channel_write_blk64(fs_->io, start, static_cast<int>(count), bytes.data()), "write");
    bytes.remove_prefix(count * kBlock);
    ext2fs_extent* const before = extents.empty() ? nullptr : &extents.back();
    if (before != nullptr && before->e_pblk + before->e_len == start && before->e_lblk + before->e_len == block &&
        before->e_len + count <= kMaxExtent) {
      before->e_len += static_cast<uint32_t>(count);
    } else {
      extents.push_back({.e_pblk = start, .e_lblk = block, .e_len = static_cast<uint32_t>(count), .e_flags = 0});
    }
    block += count;
  }
  return absl::OkStatus();
}

absl::Status Ext4WriterImpl::SetExtents(uint32_t number, ext2_inode_large& inode, const Extents& extents) {
  inode.i_flags |= EXT4_EXTENTS_FL;
  std::memset(inode.i_block, 0, sizeof(inode.i_block));
  ext2_extent_handle_t handle = nullptr;
  RETURN_IF_EXT2_ERROR(ext2fs_extent_open2(fs_, number, Plain(inode), &handle), "write extents");
  errcode_t error = 0;
  uint64_t blocks = 0;
  for (ext2fs_extent extent : extents) {
    blocks += extent.e_len;
    error = ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &extent);
    if (error == 0) error = ext2fs_extent_fix_parents(handle);
    if (error != 0) break;
  }
  ext2fs_extent_free(handle);
  RETURN_IF_EXT2_ERROR(error, "write extents");
  RETURN_IF_EXT2_ERROR(ext2fs_iblk_add_blocks(fs_, Plain(inode), blocks), "write extents");
  return absl::OkStatus();
}

absl::Status Ext4WriterImpl::WriteContent(const Node& node, EntryData& data) {
  if (node.inode == 0 || !S_ISREG(node.mode)) return absl::OkStatus();
  Extents extents;
  std::string pending;      // whole run of bytes from `pending_at` on, in bytes, block-aligned start
  uint64_t pending_at = 0;  // offset of pending's first byte
  const auto flush = [&](bool all) -> absl::Status {
    // Whole blocks, those of zeros skipped.
    const size_t bytes = all ? pending.size() : pending.size() / kBlock * kBlock;
    size_t begin = 0;
    const auto is_zero = [&](size_t at) {
      const size_t length = std::min<size_t>(kBlock, bytes - at);
      return pending[at] == 0 && std::memcmp(&pending[at], &pending[at] + 1, length - 1) == 0;
    };
    while (begin < bytes) {
      if (is_zero(begin)) {
        begin += kBlock;
        continue;
      }
      size_t end = begin;
      while (end < bytes && !is_zero(end)) end += kBlock;
      end = std::min(end, bytes);
      RETURN_IF_ERROR(
          Append(absl::string_view(pending).substr(begin, end - begin), (pending_at + begin) / kBlock, extents));
      begin = end;
    }
    pending.erase(0, bytes);
    pending_at += bytes;
    return absl::OkStatus();
  };
  while (true) {
    ASSIGN_OR_RETURN(const EntryData::Piece piece, data.Next());
    if (piece.bytes.empty()) break;
    const uint64_t end = pending_at + pending.size();
    if (piece.offset < end || piece.offset + piece.bytes.size() > node.size) {
      return MakeError(absl::StatusCode::kInvalidArgument, "a file's pieces overlap, or reach beyond its end",
                       {"BAD_ENTRY", "", "the archive is damaged; make it anew"});
    }
    if (piece.offset > end) {
      const uint64_t aligned = piece.offset / kBlock * kBlock;
      if (aligned >= DivideUp(end, kBlock) * kBlock) {
        RETURN_IF_ERROR(flush(/*all=*/true));
        pending.clear();
        pending_at = aligned;
      }
      pending.resize(piece.offset - pending_at);
    }
    pending.append(piece.bytes.data(), piece.bytes.size());
    if (pending.size() >= kWriteBlocks * kBlock) RETURN_IF_ERROR(flush(/*all=*/false));
  }
  RETURN_IF_ERROR(flush(/*all=*/true));
  if (node.size == 0) return absl::OkStatus();
  ext2_inode_large inode = {};
  RETURN_IF_EXT2_ERROR(ext2fs_read_inode_full(fs_, node.inode, Plain(inode), sizeof(inode)), "read an inode");
  RETURN_IF_EXT2_ERROR(ext2fs_inode_size_set(fs_, Plain(inode), static_cast<ext2_off64_t>(node.size)), "a file's size");
  RETURN_IF_ERROR(SetExtents(node.inode, inode, extents));
  // Of the inode alone: the attributes behind it stay.
  RETURN_IF_EXT2_ERROR(ext2fs_write_inode_full(fs_, node.inode, Plain(inode), sizeof(inode)), "write an inode");
  return absl::OkStatus();
}

void Take(const Node& folder, std::map<const Node*, bool>& seen, Census* census) {
  size_t bytes = 24 + 20, used = 0;  // ".", "..", and lost+found of the root
  for (const auto& [name, child] : folder.children) {
    const size_t length = DivideUp(8 + name.size(), 4) * 4;
    // As FolderBlocks fills them: an entry lies in one block.
    used = bytes % kBlock;
    if (used + length > kBlock) bytes += kBlock - used;
    bytes += length;
    if (child.use_count() > 1 && !seen.emplace(child.get(), true).second) continue;
    ++census->inodes;
    if (child->xattrs != nullptr) ++census->blocks;
    if (S_ISLNK(child->mode) && child->target.size() >= 60) ++census->blocks;
    if (child->IsFolder()) Take(*child, seen, census);
  }
  census->blocks += DivideUp(bytes, kBlock);
}

absl::Status Format(const std::string& path, const Ext4Plan& plan, uint64_t size, uint64_t inodes) {
  // mke2fs would leave what is there already.
  if (truncate(path.c_str(), 0) != 0) return ErrnoError(errno, path);
  if (truncate(path.c_str(), static_cast<off_t>(size)) != 0) {
    return errno == EFBIG ? MakeError(absl::StatusCode::kInvalidArgument,
                                      absl::StrCat("the host's filesystem holds no file of ", HumanByteSize(size)),
                                      {"INVALID_SIZE", path, "give a smaller --size"})
                          : ErrnoError(errno, path);
  }
  Tool tool;
  ASSIGN_OR_RETURN(const std::string mke2fs, FindTool("mke2fs", "e2fsprogs"));
  // Lazy tables would be filled by every guest at its first boot, into its COW file; a lazy journal stays sparse.
  tool.argv = {mke2fs,
               "-q",
               "-F",
               "-t",
               "ext4",
               "-O",
               kFeatures,
               "-b",
               absl::StrCat(kBlock),
               "-I",
               "256",
               "-N",
               absl::StrCat(inodes),
               "-m",
               "0",
               "-U",
               plan.uuid,
               "-E",
               absl::StrCat("lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0,hash_seed=", plan.uuid),
               path,
               absl::StrCat(size / kBlock)};
  tool.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", absl::StrCat("E2FSPROGS_FAKE_TIME=", plan.time),
                      "MKE2FS_CONFIG=/dev/null"};
  return RunTool(tool, nullptr).status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ext4Writer>> Ext4Writer::Create(const std::string& path, const Tree& tree,
                                                               const Ext4Plan& plan) {
  Census census;
  std::map<const Node*, bool> seen;
  Take(*tree.root(), seen, &census);
  const uint64_t content = plan.data_blocks + census.blocks;
  // And the nodes of the extents' trees, and the ends of groups.
  const uint64_t needed = content + content / 128 + plan.pieces / 300 + 64;
  const bool fixed = plan.size_bytes != 0;
  const uint64_t wanted_free = fixed ? needed : needed + std::max(needed, kLeastRoom / kBlock);
  uint64_t size =
      fixed ? plan.size_bytes / kBlock * kBlock : (wanted_free + wanted_free / 50) * kBlock + (uint64_t{16} << 20);
  const auto does_not_fit = [&](uint64_t offered) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("it does not fit: ", HumanByteSize(needed * kBlock), " are needed, and ",
                                  HumanByteSize(offered), " would be free"),
                     {"DOES_NOT_FIT", "", "give a larger --size, or none"});
  };
  for (int attempt = 0;; ++attempt) {
    if (size > kLargest) {
      return MakeError(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("a filesystem of ", HumanByteSize(size), ": UML's disks have at most 8 TiB"),
                       {"INVALID_SIZE", "", "give a smaller --size"});
    }
    if (fixed && size / kBlock < needed) return does_not_fit(size);
    const uint64_t inodes = std::max(size / 16384, census.inodes + census.inodes / 4 + 64);
    RETURN_IF_ERROR(Format(path, plan, size, inodes));
    ext2_filsys fs = nullptr;
    RETURN_IF_EXT2_ERROR(
        ext2fs_open2(path.c_str(), nullptr, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs),
        "open the new filesystem");
    auto writer = std::make_unique<Ext4WriterImpl>(fs);
    RETURN_IF_EXT2_ERROR(ext2fs_read_bitmaps(fs), "read the new filesystem");
    fs->now = static_cast<time_t>(plan.time);
    const uint64_t free = ext2fs_free_blocks_count(fs->super);
    if (free >= wanted_free) {
      RETURN_IF_ERROR(writer->WriteTree(tree));
      return std::unique_ptr<Ext4Writer>(std::move(writer));
    }
    if (fixed || attempt == 5) return does_not_fit(free * kBlock);
    size += (wanted_free - free) * kBlock * 21 / 20 / kBlock * kBlock + (uint64_t{1} << 20);
  }
}

}  // namespace umld::image
