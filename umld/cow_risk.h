#ifndef UMLD_UMLD_COW_RISK_H_
#define UMLD_UMLD_COW_RISK_H_

#include <cstdint>
#include <string>

#include "devices/disk/partition_table.h"

namespace umld {

// Why some UML kernels may not read a disk right through a COW file (docs/uml-notes.md, "Disks"): partitions off a
// boundary of 4 KiB, or filesystems with smaller blocks or sectors. In words for people; empty: nothing that is known.
// The bytes may be anything; a few of them are read, and what cannot be read is no risk. Blocks as `read` does.
std::string CowRisk(uint64_t disk_bytes, const devices::ReadAt& read);

}  // namespace umld

#endif  // UMLD_UMLD_COW_RISK_H_
