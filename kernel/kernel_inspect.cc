#include "kernel/kernel_inspect.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/process.h"
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

// The program interpreter that the file names; empty: none.
absl::StatusOr<std::string> Interpreter(int fd, const std::string& path) {
  Elf64_Ehdr header = {};
  if (!ReadAt(fd, 0, &header, sizeof(header)) || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return NotAKernel(path, "it is not an ELF program");
  }
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part = {};
    if (!ReadAt(fd, header.e_phoff + uint64_t{i} * sizeof(part), &part, sizeof(part))) break;
    if (part.p_type != PT_INTERP) continue;
    std::string name(std::min<uint64_t>(part.p_filesz, PATH_MAX), '\0');
    if (!ReadAt(fd, part.p_offset, name.data(), name.size())) break;
    return std::string(name.c_str());
  }
  return std::string();
}

// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)"; empty: a line that names no file.
absl::StatusOr<std::string> LibraryIn(absl::string_view line, const std::string& path) {
  const size_t arrow = line.find(" => ");
  if (arrow == absl::string_view::npos) return std::string();
  absl::string_view file = line.substr(arrow + 4);
  if (absl::StartsWith(file, "not found")) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the kernel ", path, " needs ", absl::StripAsciiWhitespace(line.substr(0, arrow)),
                                  ", which this host does not have"),
                     {"LIBRARY_NOT_FOUND", path, "install the package that has it"});
  }
  return std::string(file.substr(0, file.rfind(" (")));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> KernelLibraries(const std::string& path) {
  constexpr std::chrono::seconds kPatience(10);
  constexpr char kLoaderCache[] = "/etc/ld.so.cache";
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.ok()) return OpenError(errno, path);
  ASSIGN_OR_RETURN(const std::string interpreter, Interpreter(fd.get(), path));
  std::vector<std::string> files;
  if (interpreter.empty()) return files;
  struct stat info = {};
  if (stat(interpreter.c_str(), &info) != 0 || info.st_uid != 0 || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return NotAKernel(path, absl::StrCat("its interpreter ", interpreter, " is not this system's"));
  }
  ASSIGN_OR_RETURN(const CommandResult listed, RunCommand({interpreter, "--list", path}, kPatience));
  if (listed.exit_code != 0) return NotAKernel(path, absl::StripAsciiWhitespace(listed.output));
  files.push_back(interpreter);
  if (access(kLoaderCache, R_OK) == 0) files.push_back(kLoaderCache);
  for (absl::string_view line : absl::StrSplit(listed.output, '\n')) {
    ASSIGN_OR_RETURN(std::string library, LibraryIn(line, path));
    if (absl::StartsWith(library, "/") && library != interpreter) files.push_back(std::move(library));
  }
  return files;
}

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
