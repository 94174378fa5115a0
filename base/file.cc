#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld {
namespace {

absl::Status WriteAll(int fd, absl::string_view content, const std::string& path) {
  while (!content.empty()) {
    ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, absl::StrCat("write ", path));
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncFolderOf(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  UniqueFd fd(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", folder));
  return absl::OkStatus();
}

absl::Status WriteAndRename(int fd, const std::string& temporary, const std::string& path, absl::string_view content,
                            mode_t mode) {
  if (fchmod(fd, mode) != 0) return ErrnoError(errno, absl::StrCat("chmod ", temporary));
  RETURN_IF_ERROR(WriteAll(fd, content, temporary));
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("sync ", temporary));
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError(errno, absl::StrCat("rename to ", path));
  return SyncFolderOf(path);
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  std::string content;
  char buffer[4096];
  while (content.size() < max_bytes) {
    ssize_t got = read(fd.get(), buffer, std::min(sizeof(buffer), max_bytes - content.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, absl::StrCat("read ", path));
    if (got == 0) break;
    content.append(buffer, static_cast<size_t>(got));
  }
  return content;
}

absl::Status WriteFileDurably(const std::string& path, absl::string_view content, mode_t mode) {
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", temporary));
  absl::Status status = WriteAndRename(fd.get(), temporary, path, content, mode);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::Status MakeFolders(const std::string& path, mode_t mode) {
  std::filesystem::path folder(path);
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return absl::OkStatus();
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is not a folder"),
                     {"NOT_A_FOLDER", path, "move it away or choose another folder"});
  }
  if (folder.has_parent_path() && folder.parent_path() != folder) {
    RETURN_IF_ERROR(MakeFolders(folder.parent_path().string(), 0755));
  }
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return ErrnoError(errno, absl::StrCat("make folder ", path));
  return absl::OkStatus();
}

absl::Status RemoveFolder(const std::string& path) {
  std::error_code error;
  // What somebody else removes while we do is gone as well: look again.
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::filesystem::remove_all(path, error);
    if (error != std::errc::no_such_file_or_directory) break;
  }
  if (error) return ErrnoError(error.value(), absl::StrCat("remove ", path));
  return absl::OkStatus();
}

}  // namespace umld
