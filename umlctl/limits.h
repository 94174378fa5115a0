#ifndef UMLD_UMLCTL_LIMITS_H_
#define UMLD_UMLCTL_LIMITS_H_

#include <CLI/App.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "umld/v1/resources.pb.h"

namespace umld::umlctl {

// The options --cpu, --memory-max, --pids, --disk-bandwidth and --disk-iops of a verb, as they were typed; empty when
// they are not given.
struct LimitWords {
  std::string cpu, memory, pids, disk_bandwidth, disk_iops;
  bool given() const {
    return !cpu.empty() || !memory.empty() || !pids.empty() || !disk_bandwidth.empty() || !disk_iops.empty();
  }
};

void AddLimits(CLI::App* verb, LimitWords& words);

// Puts what was given over `limits`. "default" gives a limit back to the daemon. kInvalidArgument: names the option.
absl::Status ApplyLimits(const LimitWords& words, v1::Limits* limits);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_LIMITS_H_
