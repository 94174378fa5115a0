#include "umld/guest_usage.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace umld {
namespace {

// More than any guest has: what is read of one guest stays bounded.
constexpr size_t kMaxProcesses = 4096;

std::string ReadProc(pid_t pid, absl::string_view file) {
  return ReadFile(absl::StrCat("/proc/", pid, "/", file), 64 * 1024).value_or("");
}

// utime, stime, cutime and cstime of /proc/PID/stat: the fields 14 to 17, counted from the last ')'.
absl::Duration CpuOf(pid_t pid) {
  static const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  const std::string stat = ReadProc(pid, "stat");
  const size_t close = stat.rfind(')');
  if (close == std::string::npos) return absl::ZeroDuration();
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(close + 1), ' ', absl::SkipEmpty());
  uint64_t ticks = 0;
  for (size_t i = 11; i < 15 && i < fields.size(); ++i) {
    uint64_t value = 0;
    if (absl::SimpleAtoi(fields[i], &value)) ticks += value;
  }
  return absl::Seconds(static_cast<double>(ticks) / ticks_per_second);
}

uint64_t IoField(const std::string& io, absl::string_view name) {
  const size_t at = io.find(absl::StrCat(name, ": "));
  if (at == std::string::npos) return 0;
  const std::string rest = io.substr(at + name.size() + 2);
  uint64_t value = 0;
  return absl::SimpleAtoi(rest.substr(0, rest.find('\n')), &value) ? value : 0;
}

}  // namespace

GuestUsage UsageOf(const ProcessIdentity& kernel) {
  GuestUsage usage;
  if (kernel.pid <= 0 || !IsAlive(kernel)) return usage;
  std::vector<pid_t> processes = {kernel.pid};
  for (size_t i = 0; i < processes.size() && processes.size() < kMaxProcesses; ++i) {
    const pid_t pid = processes[i];
    usage.cpu += CpuOf(pid);
    const std::vector<pid_t> children = ChildrenOf(pid);
    processes.insert(processes.end(), children.begin(), children.end());
    // The kernel's own reads and writes are its consoles' and mconsole's; its disks have a process of their own. The
    // guest's processes make no system calls of the host's but for memory.
    if (pid == kernel.pid) continue;
    const std::string io = ReadProc(pid, "io");
    usage.disk_read_bytes += IoField(io, "rchar");
    usage.disk_write_bytes += IoField(io, "wchar");
  }
  usage.processes = static_cast<uint32_t>(processes.size());
  return usage;
}

}  // namespace umld
