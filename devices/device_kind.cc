#include "devices/device_kind.h"

#include "absl/strings/match.h"

namespace umld::devices {

DeviceKind KindOfDevice(absl::string_view text) {
  if (absl::StartsWith(text, "ubd")) return DeviceKind::kDisk;
  if (absl::StartsWith(text, "con") || absl::StartsWith(text, "ssl")) return DeviceKind::kConsole;
  if (absl::StartsWith(text, "eth") || absl::StartsWith(text, "vec")) return DeviceKind::kNic;
  if (absl::StartsWith(text, "mem")) return DeviceKind::kMemory;
  return DeviceKind::kUnknown;
}

}  // namespace umld::devices
