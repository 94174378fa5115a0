#include "umld/kernel_modules.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/host_path.h"
#include "base/process.h"
#include "base/status.h"
#include "image/tool.h"

namespace umld {
namespace {

constexpr std::chrono::minutes kToolTimeout{5};
constexpr uint64_t kBlock = 4096;
// Debian's kernel has 1,000 modules in 40 MB; a distribution's for real machines 4,000 in 400 MB.
constexpr uint64_t kMaxBytes = uint64_t{4} << 30;
constexpr uint64_t kMaxFiles = 200'000;
constexpr int kMaxDepth = 32;
// Features that every kernel since 4.x mounts.
constexpr char kFeatures[] =
    "none,ext_attr,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize";

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};

absl::Status TooLarge(const std::string& path) {
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat(path, " is too large: 4 GiB and 200,000 files are the most"),
                   {"TOO_LARGE", path, "name the folder with the modules alone"});
}

// Copies one tree of regular files, and counts what it takes.
class TreeCopy {
 public:
  // Opens what it copies as `user`, and makes the copies as this process.
  TreeCopy(const std::string& name, const std::optional<Credentials>& user) : name_(name), user_(user) {}

  absl::Status Folder(int from, int to, int depth) {
    if (depth > kMaxDepth) return TooLarge(name_);
    ASSIGN_OR_RETURN(UniqueFd again, Open(from, ".", O_RDONLY | O_DIRECTORY));
    std::unique_ptr<DIR, CloseFolder> list(fdopendir(again.get()));
    if (list != nullptr) again.release();
    if (list == nullptr) return ErrnoError(errno, absl::StrCat("read ", name_));
    bytes_ += kBlock;
    while (const dirent* entry = readdir(list.get())) {
      const absl::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      RETURN_IF_ERROR(Entry(from, to, entry->d_name, depth));
    }
    return absl::OkStatus();
  }

  uint64_t bytes() const { return bytes_; }
  uint64_t files() const { return files_; }

 private:
  absl::Status Entry(int from, int to, const char* name, int depth) {
    // O_PATH first: opening a FIFO or a device is not for us.
    ASSIGN_OR_RETURN(const UniqueFd handle, Open(from, name, O_PATH));
    struct stat info = {};
    if (fstat(handle.get(), &info) != 0) return ErrnoError(errno, absl::StrCat(name_, ": ", name));
    if (++files_ > kMaxFiles) return TooLarge(name_);
    if (S_ISDIR(info.st_mode)) {
      ASSIGN_OR_RETURN(const UniqueFd inner, Open(from, name, O_RDONLY | O_DIRECTORY));
      if (mkdirat(to, name, 0755) != 0) return ErrnoError(errno, absl::StrCat("make folder ", name));
      UniqueFd made(openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!made.ok()) return ErrnoError(errno, absl::StrCat("make folder ", name));
      return Folder(inner.get(), made.get(), depth + 1);
    }
    // Links (`build` and `source` to where it was built) would lead nowhere in a guest.
    if (!S_ISREG(info.st_mode)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const UniqueFd file, Open(from, name, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
      return ErrnoError(EINVAL, absl::StrCat(name_, ": ", name));
    }
    return File(file.get(), to, name);
  }

  absl::Status File(int from, int to, const char* name) {
    UniqueFd copy(openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!copy.ok()) return ErrnoError(errno, absl::StrCat("create ", name));
    while (true) {
      const ssize_t n = read(from, buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, absl::StrCat(name_, ": ", name));
      if (n == 0) break;
      bytes_ += static_cast<uint64_t>(n);
      if (bytes_ > kMaxBytes) return TooLarge(name_);
      for (ssize_t done = 0; done < n;) {
        const ssize_t written = write(copy.get(), buffer_.data() + done, static_cast<size_t>(n - done));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return ErrnoError(errno, absl::StrCat("write ", name));
        done += written;
      }
    }
    bytes_ += kBlock;  // what a last block may waste
    return absl::OkStatus();
  }

  absl::StatusOr<UniqueFd> Open(int from, const char* name, int flags) const {
    return ActAs(user_, [&]() -> absl::StatusOr<UniqueFd> {
      UniqueFd fd(openat(from, name, flags | O_NOFOLLOW | O_CLOEXEC));
      if (!fd.ok()) return ErrnoError(errno, absl::StrCat(name_, ": ", name));
      return fd;
    });
  }

  const std::string name_;
  const std::optional<Credentials> user_;
  uint64_t bytes_ = 0;
  uint64_t files_ = 0;
  std::string buffer_ = std::string(1 << 18, '\0');
};

}  // namespace

absl::StatusOr<ModulesFolder> OpenModules(const std::string& path, const std::string& version) {
  const UniqueFd top = OpenHostPath(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!top.ok()) return ErrnoError(errno, absl::StrCat("open the modules ", path));
  absl::string_view own_name = path;
  while (own_name.size() > 1 && own_name.back() == '/') own_name.remove_suffix(1);
  own_name.remove_prefix(own_name.rfind('/') + 1);
  for (const std::string& inside : {version, absl::StrCat("lib/modules/", version), std::string(".")}) {
    if (inside == "." && own_name != version) continue;
    UniqueFd folder = OpenHostPath(absl::StrCat(path, "/", inside), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!folder.ok() || faccessat(folder.get(), "modules.dep", R_OK, AT_EACCESS) != 0) continue;
    return ModulesFolder{std::move(folder), inside == "." ? path : absl::StrCat(path, "/", inside)};
  }
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(path, " has no modules of ", version, ": there is no ", version, "/modules.dep"),
                   {"MODULES_DO_NOT_MATCH", path,
                    "name the folder that has VERSION/modules.dep, or lib/modules/VERSION/modules.dep"});
}

absl::Status BuildModulesImage(const ModulesFolder& folder, const std::string& version,
                               const std::optional<Credentials>& user, const std::string& work,
                               const std::string& output) {
  ASSIGN_OR_RETURN(const std::string mke2fs, image::FindTool("mke2fs", "e2fsprogs"));
  const std::string tree = absl::StrCat(work, "/", version);
  if (mkdir(tree.c_str(), 0755) != 0) return ErrnoError(errno, absl::StrCat("make folder ", tree));
  UniqueFd to(open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!to.ok()) return ErrnoError(errno, tree);
  TreeCopy copy(folder.path, user);
  RETURN_IF_ERROR(copy.Folder(folder.fd.get(), to.get(), 0));
  const uint64_t inodes = copy.files() + 64;
  const uint64_t bytes = copy.bytes() + copy.bytes() / 16 + inodes * 256 + (uint64_t{4} << 20);
  // Nothing is ever written to it: no journal, no reserve.
  ASSIGN_OR_RETURN(const CommandResult made, RunCommand({mke2fs,
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
                                                         "-L",
                                                         "modules",
                                                         "-E",
                                                         "lazy_itable_init=0,root_owner=0:0",
                                                         "-d",
                                                         work,
                                                         output,
                                                         absl::StrCat(bytes / 1024, "k")},
                                                        kToolTimeout));
  if (made.exit_code == 0) return absl::OkStatus();
  absl::string_view words = absl::StripAsciiWhitespace(made.output);
  if (words.size() > 300) words.remove_prefix(words.size() - 300);
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("mke2fs failed with exit code ", made.exit_code, ": ", words),
                   {"TOOL_FAILED", mke2fs, "free space in the state directory, and see that e2fsprogs is whole"});
}

}  // namespace umld
