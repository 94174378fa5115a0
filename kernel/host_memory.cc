#include "kernel/host_memory.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace umld::kernel {

uint64_t HostMemoryOf(const ProcessIdentity& kernel) {
  constexpr uint64_t kBlockBytes = 512;
  if (kernel.pid <= 0 || !IsAlive(kernel)) return 0;
  std::error_code error;
  std::filesystem::directory_iterator entries(absl::StrCat("/proc/", kernel.pid, "/fd"), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    // UML makes it where memory is: $TMPDIR, which vmcore does not set, or /dev/shm; and unlinks it at once.
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entries->path(), gone).string();
    struct stat info = {};
    if (!absl::StartsWith(target, "/dev/shm/") || !absl::EndsWith(target, " (deleted)")) continue;
    if (stat(entries->path().c_str(), &info) == 0) return static_cast<uint64_t>(info.st_blocks) * kBlockBytes;
  }
  return 0;
}

}  // namespace umld::kernel
