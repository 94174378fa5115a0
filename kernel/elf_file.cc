#include "kernel/elf_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::kernel {
namespace {

// A kernel has about 60 sections, 1 KiB of their names, 10 segments, and a handful of libraries; a file that claims
// much more is not one.
constexpr uint32_t kMaxSections = 4096;
constexpr uint32_t kMaxSegments = 256;
constexpr uint64_t kMaxNames = 1 << 20;
constexpr size_t kMaxName = 256;  // of which many may lie in one another
constexpr uint64_t kMaxNotes = 1 << 16;
constexpr uint64_t kMaxDynamic = 1 << 16;
constexpr size_t kMaxLibraries = 64;
constexpr size_t kMaxLibraryName = 255;
constexpr uint32_t kMaxBuildId = 64;

absl::Status Wrong(absl::string_view why) { return absl::InvalidArgumentError(why); }

// The machine this program was built for.
absl::StatusOr<Elf64_Ehdr> ReadOwnHeader() {
  UniqueFd fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Elf64_Ehdr header = {};
  if (!fd.ok() || !ReadFully(fd.get(), 0, &header, sizeof(header))) return ErrnoError(errno, "read /proc/self/exe");
  return header;
}

template <typename Entry>
absl::StatusOr<std::vector<Entry>> ReadTable(int fd, uint64_t offset, size_t count) {
  std::vector<Entry> table(count);
  if (!ReadFully(fd, offset, table.data(), count * sizeof(Entry))) return Wrong("the file is cut short");
  return table;
}

uint64_t Padded(uint64_t size) { return (size + 3) & ~uint64_t{3}; }

// The id among the notes of one section; empty: it has none.
std::string BuildIdIn(absl::string_view notes) {
  Elf64_Nhdr note = {};
  while (notes.size() >= sizeof(note)) {
    std::memcpy(&note, notes.data(), sizeof(note));
    notes.remove_prefix(sizeof(note));
    const uint64_t name = Padded(note.n_namesz), id = Padded(note.n_descsz);
    if (name > notes.size() || id > notes.size() - name) return "";
    const bool is_build_id = note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && notes.substr(0, 3) == "GNU";
    if (is_build_id && note.n_descsz > 0 && note.n_descsz <= kMaxBuildId) {
      return absl::BytesToHexString(notes.substr(name, note.n_descsz));
    }
    notes.remove_prefix(name + id);
  }
  return "";
}

}  // namespace

bool ReadFully(int fd, uint64_t offset, void* buffer, size_t size) {
  auto* at = static_cast<char*>(buffer);
  if (offset > LLONG_MAX || size > LLONG_MAX - offset) return false;
  while (size > 0) {
    const ssize_t n = pread(fd, at, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return true;
}

absl::StatusOr<ElfFile> ElfFile::Read(int fd) {
  Elf64_Ehdr header = {};
  if (!ReadFully(fd, 0, &header, sizeof(header)) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return Wrong("it is not an ELF program");
  }
  ASSIGN_OR_RETURN(const Elf64_Ehdr own, ReadOwnHeader());
  if (header.e_ident[EI_CLASS] != own.e_ident[EI_CLASS] || header.e_ident[EI_DATA] != own.e_ident[EI_DATA] ||
      header.e_machine != own.e_machine) {
    return Wrong("it was built for another kind of machine");
  }
  ElfFile file(fd);
  RETURN_IF_ERROR(file.ReadSections(header));
  RETURN_IF_ERROR(file.ReadSegments(header));
  return file;
}

absl::Status ElfFile::ReadSections(const Elf64_Ehdr& header) {
  const bool has_sections = header.e_shoff != 0 && header.e_shentsize == sizeof(Elf64_Shdr) && header.e_shnum != 0 &&
                            header.e_shnum <= kMaxSections && header.e_shstrndx < header.e_shnum;
  if (!has_sections) return Wrong("it has no table of sections");
  absl::StatusOr<std::vector<Elf64_Shdr>> table = ReadTable<Elf64_Shdr>(fd_, header.e_shoff, header.e_shnum);
  if (!table.ok()) return Wrong("it has no table of sections");
  const Elf64_Shdr& names = (*table)[header.e_shstrndx];
  if (names.sh_size == 0 || names.sh_size > kMaxNames) return Wrong("it has no table of sections");
  std::string text(names.sh_size, '\0');
  if (!ReadFully(fd_, names.sh_offset, text.data(), text.size())) return Wrong("the file is cut short");
  for (const Elf64_Shdr& section : *table) {
    Section read = {"", section.sh_type, section.sh_offset, section.sh_size};
    // The string ends at its NUL, or at worst at the one after the last byte of `text`.
    if (section.sh_name < text.size()) {
      const char* const name = text.c_str() + section.sh_name;
      read.name.assign(name, strnlen(name, kMaxName));
    }
    sections_.push_back(std::move(read));
  }
  return absl::OkStatus();
}

absl::Status ElfFile::ReadSegments(const Elf64_Ehdr& header) {
  if (header.e_phnum == 0) return absl::OkStatus();
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments) {
    return Wrong("it has no table of segments");
  }
  ASSIGN_OR_RETURN(segments_, ReadTable<Elf64_Phdr>(fd_, header.e_phoff, header.e_phnum));
  return absl::OkStatus();
}

bool ElfFile::HasSection(const std::string& name) const {
  return std::any_of(sections_.begin(), sections_.end(), [&](const Section& section) { return section.name == name; });
}

absl::StatusOr<std::string> ElfFile::BuildId() const {
  for (const Section& section : sections_) {
    if (section.type != SHT_NOTE || section.size > kMaxNotes) continue;
    std::string notes(section.size, '\0');
    if (!ReadFully(fd_, section.offset, notes.data(), notes.size())) return Wrong("the file is cut short");
    std::string id = BuildIdIn(notes);
    if (!id.empty()) return id;
  }
  return std::string();
}

absl::StatusOr<std::string> ElfFile::Interpreter() const {
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type != PT_INTERP) continue;
    std::string name(std::min<uint64_t>(segment.p_filesz, PATH_MAX), '\0');
    if (!ReadFully(fd_, segment.p_offset, name.data(), name.size())) return Wrong("the file is cut short");
    return std::string(name.c_str());
  }
  return std::string();
}

uint64_t ElfFile::OffsetOf(uint64_t address) const {
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const uint64_t within = address - segment.p_vaddr;
    if (within < segment.p_filesz) return segment.p_offset + within;
  }
  return 0;
}

absl::StatusOr<std::vector<std::string>> ElfFile::Needed() const {
  std::vector<std::string> libraries;
  const auto dynamic = std::find_if(segments_.begin(), segments_.end(),
                                    [](const Elf64_Phdr& segment) { return segment.p_type == PT_DYNAMIC; });
  if (dynamic == segments_.end()) return libraries;
  if (dynamic->p_filesz > kMaxDynamic) return Wrong("its dynamic section is too long");
  ASSIGN_OR_RETURN(const std::vector<Elf64_Dyn> entries,
                   ReadTable<Elf64_Dyn>(fd_, dynamic->p_offset, dynamic->p_filesz / sizeof(Elf64_Dyn)));
  uint64_t strings = 0;
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings = OffsetOf(entry.d_un.d_ptr);
  }
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag != DT_NEEDED) continue;
    char name[kMaxLibraryName + 1] = {};
    // The table may end, with the file, less than that behind the name.
    size_t got = 0;
    if (entry.d_un.d_val > UINT64_MAX - strings) return Wrong("its dynamic section is damaged");
    while (got < kMaxLibraryName && ReadFully(fd_, strings + entry.d_un.d_val + got, name + got, 1) && name[got] != 0) {
      ++got;
    }
    const absl::string_view library(name, got);
    if (strings == 0 || library.empty() || got == kMaxLibraryName || absl::StrContains(library, '/') ||
        libraries.size() == kMaxLibraries) {
      return Wrong("its list of libraries is damaged");
    }
    libraries.emplace_back(library);
  }
  return libraries;
}

}  // namespace umld::kernel
