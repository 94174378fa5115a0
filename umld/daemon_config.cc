#include "umld/daemon_config.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr uint32_t kLastUid = 2147483647;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] == '/' ? value : "";
}

std::string HomeFolder() {
  std::string home = Environment("HOME");
  if (!home.empty()) return home;
  const passwd* entry = getpwuid(getuid());
  return entry != nullptr ? entry->pw_dir : "/";
}

void Default(std::string& value, const std::string& fallback) {
  if (value.empty()) value = fallback;
}

// Beside this program (installed together, or in a build tree), else where the package puts it.
absl::Status FindVmcore(std::string& path) {
  if (!path.empty()) return absl::OkStatus();
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const std::filesystem::path& candidate :
       {self / "vmcore", self.parent_path() / "vmcore" / "vmcore", std::filesystem::path("/usr/lib/umld/vmcore")}) {
    if (std::filesystem::is_regular_file(candidate, ignored)) {
      path = candidate.string();
      return absl::OkStatus();
    }
  }
  return MakeError(absl::StatusCode::kNotFound,
                   absl::StrCat("the program vmcore is neither in ", self.string(), " nor in /usr/lib/umld"),
                   {"VMCORE_NOT_FOUND", "", "build or install it, or name it with --vmcore"});
}

}  // namespace

absl::Status DaemonConfig::FillDefaults() {
  if (geteuid() == 0) {
    Default(state_dir, "/var/lib/umld");
    Default(run_dir, "/run/umld");
  } else {
    const std::string state = Environment("XDG_STATE_HOME"), run = Environment("XDG_RUNTIME_DIR");
    Default(state_dir, state.empty() ? HomeFolder() + "/.local/state/umld" : state + "/umld");
    Default(run_dir, run.empty() ? absl::StrCat("/tmp/umld-", geteuid()) : run + "/umld");
  }
  Default(socket_path, run_dir + "/umld.sock");
  Default(mconsole_dir, HomeFolder() + "/.uml");
  Default(default_kernel, "/usr/bin/linux.uml");
  if (warm_memory_bytes == 0) {
    warm_memory_bytes =
        static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 4;
  }
  return FindVmcore(vmcore_path);
}

absl::StatusOr<uint32_t> DaemonConfig::GuestUid(uint64_t id) const {
  using vmcore::v1::Isolation;
  const bool can = isolation == Isolation::ISOLATION_AUTO || isolation == Isolation::ISOLATION_PID_NAMESPACE;
  if (geteuid() != 0 || !can) return 0;
  // Ids are never used again, and there are more of these than anybody will make guests.
  if (id <= kLastUid - first_uid) return first_uid + static_cast<uint32_t>(id);
  return MakeError(absl::StatusCode::kResourceExhausted, absl::StrCat("no uid from ", first_uid, " on is left for it"),
                   {"NO_UID", "", "start umld with another --first-uid"});
}

}  // namespace umld
