#include "kernel/kernel_inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/elf_file.h"

namespace umld::kernel {
namespace {

constexpr char kUmlSection[] = ".uml.setup.init";
constexpr char kPackageHint[] =
    "install the package user-mode-linux and use /usr/bin/linux.uml, or name another kernel";

absl::Status NotAKernel(const std::string& path, absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is not a UML kernel: ", why),
                   {"NOT_A_UML_KERNEL", path, kPackageHint});
}

absl::Status OpenError(int error_number, const std::string& path) {
  if (error_number == ENOENT || error_number == ENOTDIR) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("the kernel ", path, " does not exist"),
                     {"KERNEL_NOT_FOUND", path, kPackageHint});
  }
  return ErrnoError(error_number, absl::StrCat("open the kernel ", path));
}

bool SameFile(int fd, const std::string& path) {
  struct stat one = {}, other = {};
  return fstat(fd, &one) == 0 && stat(path.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

absl::Status CheckElf(int fd, const std::string& path) {
  const absl::StatusOr<ElfFile> file = ElfFile::Read(fd);
  if (!file.ok()) return NotAKernel(path, file.status().message());
  if (!file->HasSection(kUmlSection)) return NotAKernel(path, absl::StrCat("the section ", kUmlSection, " is missing"));
  return absl::OkStatus();
}

// Where this system's loader looks; what it finds by its cache is in these too.
constexpr absl::string_view kLibraryFolders[] = {"/lib/x86_64-linux-gnu",
                                                 "/usr/lib/x86_64-linux-gnu",
                                                 "/lib64",
                                                 "/usr/lib64",
                                                 "/lib",
                                                 "/usr/lib",
                                                 "/usr/local/lib/x86_64-linux-gnu",
                                                 "/usr/local/lib"};

// Neither a FIFO nor a device is opened: it could wait, or do something.
absl::StatusOr<UniqueFd> OpenKernel(const std::string& path) {
  const UniqueFd handle = OpenHostPath(path, O_PATH | O_CLOEXEC);
  struct stat info = {};
  if (!handle.ok() || fstat(handle.get(), &info) != 0) return OpenError(errno, path);
  if (S_ISDIR(info.st_mode)) return NotAKernel(path, "it is a directory");
  if (!S_ISREG(info.st_mode)) return NotAKernel(path, "it is not a regular file");
  UniqueFd fd(open(absl::StrCat("/proc/self/fd/", handle.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.ok()) return OpenError(errno, path);
  return fd;
}

// What a guest is shown because its kernel says that it needs it, is the system's, and what everybody on the host may
// read: the kernel may be anybody's, and another one by the time it is run.
bool IsForAll(const struct stat& info) { return S_ISREG(info.st_mode) && (info.st_mode & S_IROTH) != 0; }

// The libraries of the program in `fd`, and theirs, added to `files`.
absl::Status AddLibraries(int fd, const std::string& path, std::vector<std::string>* files) {
  constexpr size_t kMaxFiles = 256;
  const absl::StatusOr<ElfFile> program = ElfFile::Read(fd);
  if (!program.ok()) return NotAKernel(path, program.status().message());
  const absl::StatusOr<std::vector<std::string>> needed = program->Needed();
  if (!needed.ok()) return NotAKernel(path, needed.status().message());
  for (const std::string& name : *needed) {
    UniqueFd library;
    std::string found;
    for (absl::string_view folder : kLibraryFolders) {
      found = absl::StrCat(folder, "/", name);
      library.reset(open(found.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      if (library.ok()) break;
    }
    if (!library.ok()) {
      return MakeError(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("the kernel ", path, " needs ", name, ", which this host does not have"),
                       {"LIBRARY_NOT_FOUND", path, "install the package that has it"});
    }
    if (std::find(files->begin(), files->end(), found) != files->end()) continue;
    struct stat info = {};
    if (fstat(library.get(), &info) != 0 || !IsForAll(info)) {
      return NotAKernel(path, absl::StrCat("its library ", found, " is not for everybody to read"));
    }
    if (files->size() == kMaxFiles) return NotAKernel(path, "it needs too many libraries");
    // The interpreter is a library of libc's too, and is there already under the name that the program gives it.
    if (SameFile(library.get(), files->front())) continue;
    files->push_back(found);
    RETURN_IF_ERROR(AddLibraries(library.get(), path, files));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> KernelLibraries(const std::string& path) {
  constexpr char kLoaderCache[] = "/etc/ld.so.cache";
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenKernel(path));
  const absl::StatusOr<ElfFile> program = ElfFile::Read(fd.get());
  if (!program.ok()) return NotAKernel(path, program.status().message());
  const absl::StatusOr<std::string> interpreter = program->Interpreter();
  if (!interpreter.ok()) return NotAKernel(path, interpreter.status().message());
  std::vector<std::string> files;
  if (interpreter->empty()) return files;
  const std::string folder = interpreter->substr(0, interpreter->rfind('/'));
  struct stat info = {};
  if (std::find(std::begin(kLibraryFolders), std::end(kLibraryFolders), folder) == std::end(kLibraryFolders) ||
      stat(interpreter->c_str(), &info) != 0 || info.st_uid != 0 || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 ||
      !IsForAll(info)) {
    return NotAKernel(path, absl::StrCat("its interpreter ", *interpreter, " is not this system's"));
  }
  files.push_back(*interpreter);
  if (access(kLoaderCache, R_OK) == 0) files.push_back(kLoaderCache);
  RETURN_IF_ERROR(AddLibraries(fd.get(), path, &files));
  return files;
}

absl::Status InspectKernel(const std::string& path) {
  if (path.empty() || path[0] != '/') {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the kernel's path \"", path, "\" is not absolute"),
                     {"INVALID_KERNEL_PATH", path, "begin it with '/'"});
  }
  const absl::StatusOr<UniqueFd> fd = OpenKernel(path);
  if (!fd.ok() && !absl::IsPermissionDenied(fd.status())) return fd.status();
  if (faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("the kernel ", path, " is not executable here"),
                     {"KERNEL_NOT_EXECUTABLE", path, absl::StrCat("chmod a+rx ", path, ", or name another kernel")});
  }
  RETURN_IF_ERROR(fd.status());
  return CheckElf(fd->get(), path);
}

}  // namespace umld::kernel
