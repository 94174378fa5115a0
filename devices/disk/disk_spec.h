#ifndef UMLD_DEVICES_DISK_DISK_SPEC_H_
#define UMLD_DEVICES_DISK_DISK_SPEC_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::devices {

// A UML kernel has ubda to ubdp.
inline constexpr uint32_t kMaxDisks = 16;
// What the paths of all disks of a guest may have together, in bytes: facts about them travel in one message.
inline constexpr size_t kMaxPathsBytes = 20'000;

// One ubd device of a guest, as wanted. Says nothing about whether the files exist: that is InspectDisk.
struct DiskSpec {
  uint32_t unit = 0;    // 0 is ubda
  std::string flags;    // of "rscdt", each at most once: read-only, synchronous, shared, data (no COW), no trim
  std::string path;     // absolute; the COW file when `backing` is set
  std::string backing;  // absolute, or empty
  std::string serial;   // or empty
  friend bool operator==(const DiskSpec&, const DiskSpec&) = default;
};

// Reads every spelling that UML knows: ubd[a-p|0-15][rscdt]=FILE | COW,BACKING | COW:BACKING | FILE,,SERIAL |
// COW,BACKING,SERIAL. Flags come out in the order of "rscdt". The result passes CheckDiskSpec. Pure.
// kInvalidArgument: names the position and the reason.
absl::StatusOr<DiskSpec> ParseDiskSpec(absl::string_view text);

// For a spec that was put together from typed fields. Flags may be in any order. Refuses what the kernel would
// misread: a relative path, ',' or ':' or '"' in a path, control characters, `d` with a COW. Paths may be as long as
// the host's; vmcore shows long ones to the kernel under short names. kInvalidArgument.
absl::Status CheckDiskSpec(const DiskSpec& spec);

// "ubdb" or "ubd1" to 1. kInvalidArgument: no such device.
absl::StatusOr<uint32_t> ParseDiskName(absl::string_view text);
// 1 to "ubdb". `unit` is below kMaxDisks.
std::string DiskName(uint32_t unit);

// The canonical spelling, "ubdbr=/a,/b", which is also the argument of mconsole's config. Inverse of ParseDiskSpec for
// a spec that passes CheckDiskSpec.
std::string PrintDiskSpec(const DiskSpec& spec);
// The same for the kernel's command line: quoted where the kernel would cut it into two arguments.
std::string PrintDiskBootArgument(const DiskSpec& spec);
// What mconsole answers to "config ubdb": "/a" or "/a,/b".
std::string PrintDiskValue(const DiskSpec& spec);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_DISK_SPEC_H_
