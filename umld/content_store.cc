#include "umld/content_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "image/sha256.h"
#include "spdlog/spdlog.h"

namespace umld {
namespace {

constexpr char kDraftPrefix[] = ".new-";
constexpr size_t kChunk = 1 << 20;
constexpr size_t kHexDigits = 64;

// Holes are not read from the disk, but they count as the zeros that they are.
absl::StatusOr<Content> ReadFd(int fd, const std::string& path, const ByteProgress& progress) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return ErrnoError(errno, path);
  image::Sha256 sha;
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  const std::string zeros(kChunk, '\0');
  std::string buffer(kChunk, '\0');
  uint64_t done = 0, data_begin = 0, data_end = 0;
  while (done < size) {
    if (progress) RETURN_IF_ERROR(progress(done, size));
    if (done >= data_end) {
      const off_t begin = lseek(fd, static_cast<off_t>(done), SEEK_DATA);
      // ENXIO: only a hole is left. Another error: a filesystem without holes.
      data_begin = begin >= 0 ? static_cast<uint64_t>(begin) : errno == ENXIO ? size : done;
      const off_t end = data_begin >= size ? -1 : lseek(fd, static_cast<off_t>(data_begin), SEEK_HOLE);
      data_end = end >= 0 ? std::min(static_cast<uint64_t>(end), size) : size;
    }
    const bool hole = done < data_begin;
    uint64_t wanted = std::min<uint64_t>(kChunk, (hole ? std::min(data_begin, size) : data_end) - done);
    if (!hole) {
      const ssize_t got = pread(fd, buffer.data(), wanted, static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoError(errno, absl::StrCat("read ", path));
      if (got == 0) return ErrnoError(EIO, absl::StrCat(path, " became shorter while it was read"));
      wanted = static_cast<uint64_t>(got);
    }
    sha.Add({hole ? zeros.data() : buffer.data(), wanted});
    done += wanted;
  }
  return Content{.digest = sha.TakeName(),
                 .path = path,
                 .size_bytes = size,
                 .mtime_ns = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec};
}

bool IsHex(absl::string_view text) {
  return text.size() == kHexDigits && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

}  // namespace

void Draft::Discard() {
  if (path_.empty()) return;
  unlink(path_.c_str());
  path_.clear();
}

absl::StatusOr<Draft> ContentStore::Begin() const {
  RETURN_IF_ERROR(MakeFolders(folder_, 0700));
  std::string path = absl::StrCat(folder_, "/", kDraftPrefix, "XXXXXX");
  UniqueFd fd(mkostemp(path.data(), O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create a file in ", folder_));
  return Draft(std::move(path), std::move(fd));
}

absl::StatusOr<std::string> ContentStore::BeginFolder() const {
  RETURN_IF_ERROR(MakeFolders(folder_, 0700));
  std::string path = absl::StrCat(folder_, "/", kDraftPrefix, "XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return ErrnoError(errno, absl::StrCat("make a folder in ", folder_));
  return path;
}

absl::StatusOr<Content> ContentStore::Seal(const Draft& draft, const ByteProgress& progress) const {
  // A tool may have put another file in the place of the one we hold.
  UniqueFd fd(open(draft.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.ok()) return ErrnoError(errno, draft.path());
  if (fchmod(fd.get(), mode_) != 0) return ErrnoError(errno, absl::StrCat("chmod ", draft.path()));
  // Before it is read, so that an error of writing is seen here.
  if (fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("write ", draft.path()));
  ASSIGN_OR_RETURN(Content content, ReadFd(fd.get(), draft.path(), progress));
  content.path = absl::StrCat(folder_, "/", absl::StripPrefix(content.digest, "sha256:"), suffix_);
  return content;
}

absl::Status ContentStore::Place(Draft draft, Content* content) const {
  // Never over a file that is there: COW files rely on its time.
  if (renameat2(AT_FDCWD, draft.path().c_str(), AT_FDCWD, content->path.c_str(), RENAME_NOREPLACE) == 0) {
    draft.path_.clear();
    return SyncFolder(folder_);
  }
  struct stat info = {};
  if (errno != EEXIST || stat(content->path.c_str(), &info) != 0) {
    return ErrnoError(errno, absl::StrCat("create ", content->path));
  }
  content->mtime_ns = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
  return absl::OkStatus();
}

absl::Status ContentStore::Replace(Draft draft, const std::string& path, int64_t mtime_ns) const {
  constexpr int64_t kSecond = 1000000000;
  const timespec times[] = {{0, UTIME_OMIT}, {mtime_ns / kSecond, mtime_ns % kSecond}};
  if (futimens(draft.fd(), times) != 0) return ErrnoError(errno, absl::StrCat("set the time of ", draft.path()));
  if (rename(draft.path().c_str(), path.c_str()) != 0) return ErrnoError(errno, absl::StrCat("replace ", path));
  draft.path_.clear();
  return SyncFolder(folder_);
}

absl::StatusOr<Content> ContentStore::Read(const std::string& path, const ByteProgress& progress) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.ok()) return ErrnoError(errno, path);
  return ReadFd(fd.get(), path, progress);
}

absl::Status ContentStore::Remove(const std::string& path) const {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, absl::StrCat("remove ", path));
  return absl::OkStatus();
}

void ContentStore::RemoveLeftovers(const std::set<std::string>& needed) const {
  DIR* const folder = opendir(folder_.c_str());
  if (folder == nullptr) return;
  std::vector<std::string> leftovers;
  while (const dirent* entry = readdir(folder)) {
    absl::string_view name = entry->d_name;
    const std::string path = absl::StrCat(folder_, "/", name);
    const bool is_draft = absl::StartsWith(name, kDraftPrefix);
    const bool is_content = absl::ConsumeSuffix(&name, suffix_) && IsHex(name);
    if (is_draft || (is_content && needed.count(path) == 0)) leftovers.push_back(path);
  }
  closedir(folder);
  for (const std::string& path : leftovers) {
    spdlog::info("removing {}, which nobody needs", path);
    if (absl::Status status = RemoveFolder(path); !status.ok()) {
      spdlog::warn("removing {}: {}", path, std::string(status.message()));
    }
  }
}

}  // namespace umld
