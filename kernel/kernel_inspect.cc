#include "kernel/kernel_inspect.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::kernel {
namespace {

constexpr absl::string_view kUmlSection = ".uml.setup.init";
constexpr char kPackageHint[] =
    "install the package user-mode-linux and use /usr/bin/linux.uml, or name another kernel";
// A kernel has about 60 sections and 1 KiB of their names; a file that claims much more is not one.
constexpr uint32_t kMaxSections = 4096;
constexpr uint64_t kMaxNames = 1 << 20;

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

// False also when the file ends before.
bool ReadAt(int fd, uint64_t offset, void* buffer, size_t size) {
  auto* at = static_cast<char*>(buffer);
  while (size > 0) {
    ssize_t n = pread(fd, at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return true;
}

// The machine this program was built for.
absl::StatusOr<Elf64_Ehdr> ReadOwnHeader() {
  UniqueFd fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Elf64_Ehdr header = {};
  if (!fd.ok() || !ReadAt(fd.get(), 0, &header, sizeof(header))) return ErrnoError(errno, "read /proc/self/exe");
  return header;
}

absl::StatusOr<std::string> ReadSectionNames(int fd, const Elf64_Ehdr& header, const std::string& path) {
  Elf64_Shdr names = {};
  uint64_t at = header.e_shoff + uint64_t{header.e_shstrndx} * sizeof(Elf64_Shdr);
  bool has_sections = header.e_shoff != 0 && header.e_shentsize == sizeof(Elf64_Shdr) && header.e_shnum != 0 &&
                      header.e_shnum <= kMaxSections && header.e_shstrndx < header.e_shnum;
  if (!has_sections || !ReadAt(fd, at, &names, sizeof(names)) || names.sh_size == 0 || names.sh_size > kMaxNames) {
    return NotAKernel(path, "it has no table of sections");
  }
  std::string text(names.sh_size, '\0');
  if (!ReadAt(fd, names.sh_offset, text.data(), text.size())) return NotAKernel(path, "the file is cut short");
  return text;
}

absl::StatusOr<bool> HasUmlSection(int fd, const Elf64_Ehdr& header, const std::string& path) {
  ASSIGN_OR_RETURN(std::string names, ReadSectionNames(fd, header, path));
  for (uint32_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section = {};
    if (!ReadAt(fd, header.e_shoff + uint64_t{i} * sizeof(section), &section, sizeof(section))) {
      return NotAKernel(path, "the file is cut short");
    }
    if (section.sh_name >= names.size()) continue;
    // The string ends at its NUL, or at worst at the one after the last byte of `names`.
    if (absl::string_view(names.c_str() + section.sh_name) == kUmlSection) return true;
  }
  return false;
}

absl::Status CheckElf(int fd, const std::string& path) {
  Elf64_Ehdr header = {};
  if (!ReadAt(fd, 0, &header, sizeof(header)) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return NotAKernel(path, "it is not an ELF program");
  }
  ASSIGN_OR_RETURN(Elf64_Ehdr own, ReadOwnHeader());
  if (header.e_ident[EI_CLASS] != own.e_ident[EI_CLASS] || header.e_ident[EI_DATA] != own.e_ident[EI_DATA] ||
      header.e_machine != own.e_machine) {
    return NotAKernel(path, "it was built for another kind of machine");
  }
  ASSIGN_OR_RETURN(bool found, HasUmlSection(fd, header, path));
  if (!found) return NotAKernel(path, absl::StrCat("the section ", kUmlSection, " is missing"));
  return absl::OkStatus();
}

}  // namespace

absl::Status InspectKernel(const std::string& path) {
  if (path.empty() || path[0] != '/') {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the kernel's path \"", path, "\" is not absolute"),
                     {"INVALID_KERNEL_PATH", path, "begin it with '/'"});
  }
  UniqueFd handle(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat info = {};
  if (!handle.ok() || fstat(handle.get(), &info) != 0) return OpenError(errno, path);
  if (S_ISDIR(info.st_mode)) return NotAKernel(path, "it is a directory");
  if (!S_ISREG(info.st_mode)) return NotAKernel(path, "it is not a regular file");
  if (faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat("the kernel ", path, " is not executable here"),
                     {"KERNEL_NOT_EXECUTABLE", path, absl::StrCat("chmod a+rx ", path, ", or name another kernel")});
  }
  // What was looked at is what is opened; opening a path again could meet a FIFO.
  UniqueFd fd(open(absl::StrCat("/proc/self/fd/", handle.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.ok()) return OpenError(errno, path);
  return CheckElf(fd.get(), path);
}

}  // namespace umld::kernel
