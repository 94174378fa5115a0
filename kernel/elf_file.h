#ifndef UMLD_KERNEL_ELF_FILE_H_
#define UMLD_KERNEL_ELF_FILE_H_

#include <elf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umld::kernel {

// The tables of an ELF program for this machine, read from a file that may lie: every number is held against the file
// and against what a kernel has, and nothing of it is run.
// The file, which must outlive this, is read by the calls; they block on the disk. Errors are kInvalidArgument and say
// why, without the file's name: "it is not an ELF program".
class ElfFile {
 public:
  struct Section {
    std::string name;
    uint32_t type = 0;  // SHT_...
    uint64_t offset = 0;
    uint64_t size = 0;
  };

  static absl::StatusOr<ElfFile> Read(int fd);

  const std::vector<Section>& sections() const { return sections_; }
  bool HasSection(const std::string& name) const;

  // Of .note.gnu.build-id, in hexadecimal; empty: it has none.
  absl::StatusOr<std::string> BuildId() const;
  // The program interpreter that it names; empty: none.
  absl::StatusOr<std::string> Interpreter() const;
  // The libraries that it needs, as their plain names; none for a static program.
  absl::StatusOr<std::vector<std::string>> Needed() const;

 private:
  explicit ElfFile(int fd) : fd_(fd) {}
  absl::Status ReadSections(const Elf64_Ehdr& header);
  absl::Status ReadSegments(const Elf64_Ehdr& header);
  // Where in the file the bytes of an address are; 0: nowhere.
  uint64_t OffsetOf(uint64_t address) const;

  int fd_;
  std::vector<Section> sections_;
  std::vector<Elf64_Phdr> segments_;
};

// False also when the file ends before.
bool ReadFully(int fd, uint64_t offset, void* buffer, size_t size);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_ELF_FILE_H_
