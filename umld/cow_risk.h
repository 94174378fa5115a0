#ifndef UMLD_UMLD_COW_RISK_H_
#define UMLD_UMLD_COW_RISK_H_

#include <cstdint>
#include <string>

namespace umld {

// Why some UML kernels may not read a disk right through a COW file (docs/uml-notes.md, "Disks"): partitions off a
// boundary of 4 KiB, or filesystems with smaller blocks or sectors. In words for people; empty: nothing that is known.
// The bytes may be anything; a few of them are read. Blocks on the disk.
std::string CowRisk(int fd, uint64_t disk_bytes);

}  // namespace umld

#endif  // UMLD_UMLD_COW_RISK_H_
