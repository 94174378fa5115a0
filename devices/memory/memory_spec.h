#ifndef UMLD_DEVICES_MEMORY_MEMORY_SPEC_H_
#define UMLD_DEVICES_MEMORY_MEMORY_SPEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::devices {

// Bytes. Debian's kernel has 12 MiB for itself; with 32 MiB it boots to a login every time. The host's own memory is
// no limit: a guest's is sparse, and fleets overcommit on purpose.
inline constexpr uint64_t kMinMemory = uint64_t{32} << 20;
inline constexpr uint64_t kMaxMemory = uint64_t{64} << 30;
inline constexpr uint64_t kMemoryStep = 4096;  // one page

// "256M" to bytes, within the limits. kInvalidArgument.
absl::StatusOr<uint64_t> ParseMemory(absl::string_view text);
// The limits alone. kInvalidArgument.
absl::Status CheckMemory(uint64_t bytes);
// "mem=-64M" or "mem=+64M", a change of a running guest's memory, to bytes: negative takes. Whole pages, not 0.
// kInvalidArgument.
absl::StatusOr<int64_t> ParseMemoryChange(absl::string_view text);
// The kernel's argument, exact: "mem=256M", "mem=262148K". `bytes` passes CheckMemory.
std::string PrintMemoryArgument(uint64_t bytes);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_MEMORY_MEMORY_SPEC_H_
