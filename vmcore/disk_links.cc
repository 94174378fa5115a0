#include "vmcore/disk_links.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "vmcore/kernel_paths.h"

namespace umld::vmcore {
namespace {

// Sixteen disks of this length leave room for everything else on the kernel's command line.
constexpr size_t kLongSpec = 200;

}  // namespace

std::string DiskLink(uint32_t unit) { return absl::StrCat(kShownFolder, "/", devices::DiskName(unit)); }

std::string BackingLink(uint32_t unit) { return absl::StrCat(DiskLink(unit), ".backing"); }

bool HasLongPaths(const devices::DiskSpec& spec) { return devices::PrintDiskSpec(spec).size() > kLongSpec; }

devices::DiskSpec KernelDisk(const devices::DiskSpec& spec) {
  if (!HasLongPaths(spec)) return spec;
  devices::DiskSpec shown = spec;
  shown.path = DiskLink(spec.unit);
  if (!spec.backing.empty()) shown.backing = BackingLink(spec.unit);
  return shown;
}

}  // namespace umld::vmcore
