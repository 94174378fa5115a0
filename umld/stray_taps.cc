#include "umld/stray_taps.h"

#include <unistd.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "base/status.h"

namespace umld {

absl::Status RemoveStrayTaps(const std::string& vmcore_path, const std::string& run_dir) {
  constexpr std::chrono::seconds kPatience(20);
  if (access((run_dir + "/taps").c_str(), F_OK) != 0 && access((run_dir + "/cgroups").c_str(), F_OK) != 0) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const CommandResult removed, RunCommand({vmcore_path, "--remove-taps", run_dir}, kPatience));
  if (removed.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("its taps or control groups are still there: ", removed.output));
}

}  // namespace umld
