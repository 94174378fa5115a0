#include "image/folder_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::image {
namespace {

constexpr size_t kChunk = 256 << 10;
constexpr size_t kMaxXattrs = 64 << 10;

absl::Status Changed(const std::string& path) {
  return MakeError(absl::StatusCode::kAborted, absl::StrCat(path, " changed while it was read"),
                   {"SOURCE_CHANGED", path, "import it when nobody writes to it"});
}

class NoData final : public EntryData {
 public:
  absl::StatusOr<Piece> Next() override { return Piece(); }
};

// The content of a file; holes are skipped. Opened when it is first asked for.
class FileData final : public EntryData {
 public:
  FileData(int folder, const std::string& name, const struct stat& info, const std::string& path)
      : folder_(folder), name_(name), info_(info), path_(path) {}
  absl::StatusOr<Piece> Next() override {
    if (!fd_.ok()) {
      fd_.reset(openat(folder_, name_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
      if (!fd_.ok()) return ErrnoError(errno, absl::StrCat("open ", path_));
      struct stat now = {};
      if (fstat(fd_.get(), &now) != 0 || now.st_ino != info_.st_ino || now.st_dev != info_.st_dev ||
          !S_ISREG(now.st_mode)) {
        return Changed(path_);
      }
      buffer_.resize(kChunk);
    }
    const uint64_t size = static_cast<uint64_t>(info_.st_size);
    if (at_ >= size) return Piece();
    if (at_ >= data_end_) {
      const off_t begin = lseek(fd_.get(), static_cast<off_t>(at_), SEEK_DATA);
      if (begin < 0 && errno == ENXIO) return Piece();
      if (begin >= 0) at_ = static_cast<uint64_t>(begin);
      const off_t end = lseek(fd_.get(), static_cast<off_t>(at_), SEEK_HOLE);
      data_end_ = end < 0 ? size : static_cast<uint64_t>(end);
    }
    if (at_ >= size) return Piece();
    const size_t wanted = std::min<uint64_t>({kChunk, std::min(data_end_, size) - at_});
    ssize_t got = 0;
    do {
      got = pread(fd_.get(), buffer_.data(), wanted, static_cast<off_t>(at_));
    } while (got < 0 && errno == EINTR);
    if (got < 0) return ErrnoError(errno, absl::StrCat("read ", path_));
    if (got == 0) return Changed(path_);
    const uint64_t offset = at_;
    at_ += static_cast<uint64_t>(got);
    return Piece{offset, {buffer_.data(), static_cast<size_t>(got)}};
  }

 private:
  const int folder_;
  const std::string& name_;
  const struct stat& info_;
  const std::string& path_;
  UniqueFd fd_;
  std::vector<char> buffer_;
  uint64_t at_ = 0, data_end_ = 0;
};

// Through /proc, since there is no call that takes a folder's descriptor, a name and does not follow links.
absl::Status ReadXattrs(int fd, const std::string& path, Entry* entry) {
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  std::string names(kMaxXattrs, '\0');
  const ssize_t length = listxattr(link.c_str(), names.data(), names.size());
  if (length < 0)
    return errno == ENOTSUP || errno == EPERM ? absl::OkStatus()
                                              : ErrnoError(errno, absl::StrCat("read the attributes of ", path));
  names.resize(static_cast<size_t>(length));
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(names, '\0', absl::SkipEmpty()))) {
    const bool kept = absl::StartsWith(name, "user.") || absl::StartsWith(name, "security.capability") ||
                      absl::StartsWith(name, "system.posix_acl_") ||
                      (absl::StartsWith(name, "trusted.") && !absl::StartsWith(name, "trusted.overlay."));
    if (!kept) continue;
    std::string value(kMaxXattrs, '\0');
    const ssize_t size = getxattr(link.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) continue;
    value.resize(static_cast<size_t>(size));
    entry->xattrs.emplace_back(name, std::move(value));
  }
  return absl::OkStatus();
}

class Folder final : public EntrySource {
 public:
  explicit Folder(int fd) : fd_(fd) {}

  absl::Status ForEach(const EntryVisitor& visit) override {
    struct stat info = {};
    if (fstat(fd_, &info) != 0) return ErrnoError(errno, "read the folder");
    device_ = info.st_dev;
    links_.clear();
    Entry root = Of(info);
    root.path = "";
    RETURN_IF_ERROR(ReadXattrs(fd_, "the folder", &root));
    NoData none;
    RETURN_IF_ERROR(visit(root, none));
    return Walk(fd_, "", visit);
  }
  // It is not known before it has been read.
  std::pair<uint64_t, uint64_t> Position() const override { return {0, 0}; }

 private:
  static Entry Of(const struct stat& info) {
    Entry entry;
    entry.mode = info.st_mode;
    entry.uid = info.st_uid;
    entry.gid = info.st_gid;
    entry.mtime = info.st_mtim.tv_sec;
    entry.mtime_nsec = static_cast<uint32_t>(info.st_mtim.tv_nsec);
    entry.size = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
    entry.major = major(info.st_rdev);
    entry.minor = minor(info.st_rdev);
    return entry;
  }

  // Sorted, so that the next time is the same.
  static absl::StatusOr<std::vector<std::string>> Names(int fd, const std::string& path) {
    // A descriptor of its own: the position belongs to the open file.
    UniqueFd own(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* const stream = own.ok() ? fdopendir(own.get()) : nullptr;
    if (stream == nullptr) return ErrnoError(errno, absl::StrCat("read folder /", path));
    own.release();
    std::vector<std::string> names;
    while (const dirent* found = readdir(stream)) {
      const std::string name = found->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    closedir(stream);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Walk(int folder, const std::string& path, const EntryVisitor& visit) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(folder, path));
    for (const std::string& name : names) {
      const std::string full = path.empty() ? name : absl::StrCat(path, "/", name);
      // O_PATH: opens whatever it is without waking a device or a FIFO.
      const UniqueFd file(openat(folder, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      struct stat info = {};
      if (!file.ok() || fstat(file.get(), &info) != 0) {
        if (errno == ENOENT) return Changed(full);
        return ErrnoError(errno, absl::StrCat("read ", full));
      }
      Entry entry = Of(info);
      entry.path = full;
      NoData none;
      if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
        const auto [first, is_new] = links_.emplace(std::make_pair(info.st_dev, info.st_ino), full);
        if (!is_new) {
          entry.hard_link = first->second;
          RETURN_IF_ERROR(visit(entry, none));
          continue;
        }
      }
      if (S_ISLNK(info.st_mode)) {
        entry.target.resize(PATH_MAX);
        const ssize_t length = readlinkat(file.get(), "", entry.target.data(), entry.target.size());
        if (length < 0) return ErrnoError(errno, absl::StrCat("read link ", full));
        entry.target.resize(static_cast<size_t>(length));
      } else if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) {
        RETURN_IF_ERROR(ReadXattrs(file.get(), full, &entry));
      }
      if (S_ISREG(info.st_mode)) {
        FileData data(folder, name, info, full);
        RETURN_IF_ERROR(visit(entry, data));
        continue;
      }
      RETURN_IF_ERROR(visit(entry, none));
      if (!S_ISDIR(info.st_mode) || info.st_dev != device_) continue;
      const UniqueFd below(openat(file.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!below.ok()) return ErrnoError(errno, absl::StrCat("open folder ", full));
      RETURN_IF_ERROR(Walk(below.get(), full, visit));
    }
    return absl::OkStatus();
  }

  const int fd_;
  dev_t device_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

std::unique_ptr<EntrySource> FolderSource(int fd) { return std::make_unique<Folder>(fd); }

}  // namespace umld::image
