#ifndef UMLD_UMLD_STRAY_TAPS_H_
#define UMLD_UMLD_STRAY_TAPS_H_

#include <string>

#include "absl/status/status.h"

namespace umld {

// Removes from the host what a vmcore that was killed had made on its network, and the guest's control groups, as it
// recorded in `run_dir`; nothing, when there is no record. To change the host's network is vmcore's alone, so it is one
// more of its processes that does it. Blocks until that has ended, as a rule for milliseconds.
absl::Status RemoveStrayTaps(const std::string& vmcore_path, const std::string& run_dir);

}  // namespace umld

#endif  // UMLD_UMLD_STRAY_TAPS_H_
