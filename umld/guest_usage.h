#ifndef UMLD_UMLD_GUEST_USAGE_H_
#define UMLD_UMLD_GUEST_USAGE_H_

#include <cstdint>

#include "absl/time/time.h"
#include "base/process.h"

namespace umld {

// What a guest's processes have used of the host since its kernel was started. Counters only grow.
struct GuestUsage {
  absl::Duration cpu;             // of all of them, those that have ended included
  uint64_t disk_read_bytes = 0;   // moved by the kernel's disk I/O process, out of the host's page cache or not; with
  uint64_t disk_write_bytes = 0;  // its requests, of a few bytes each
  uint32_t processes = 0;         // at present
};

// Reads the host's /proc: a few files for each process of the guest. All zero: the kernel has gone, or is not ours to
// look at.
GuestUsage UsageOf(const ProcessIdentity& kernel);

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_USAGE_H_
