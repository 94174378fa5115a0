#ifndef UMLD_UMLD_VMCORE_LAUNCH_H_
#define UMLD_UMLD_VMCORE_LAUNCH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "umld/daemon_config.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

inline constexpr uint32_t kVmcoreProtocol = 1;

// How a supervisor comes to be: what it is told, the lock that says that it lives, and its process. Any thread.

// All but the configuration and the folders. kResourceExhausted: no uid is left for the guest.
absl::StatusOr<vmcore::v1::Launch> NewLaunch(const DaemonConfig& config, uint64_t guest_id, bool relaxed);

// The lock in its runtime directory that a vmcore holds for as long as it lives. kUnavailable SUPERVISOR_ALIVE: one
// does.
absl::StatusOr<UniqueFd> TakeSupervisorLock(const std::string& run_dir);

struct Vmcore {
  Child child;
  UniqueFd control;
};
// The lock goes with the process: from the spawn on, vmcore's life is what holds it, whatever becomes of us. Its own
// words go to vmcore.log in its log folder. What an earlier one left in the runtime directory is removed.
absl::StatusOr<Vmcore> SpawnVmcore(const DaemonConfig& config, const vmcore::v1::Launch& launch, const UniqueFd& lock);

void KillAndReap(const Child& vmcore);
// Waits until the processes of a vmcore that has ended are gone too, and takes back what it had made on the host.
absl::Status AwaitProcesses(const DaemonConfig& config, const std::string& run_dir);
// Kills what a killed umld may have left running in a runtime directory that is no guest's, and removes it. Blocks, as
// a rule for milliseconds.
absl::Status EndSupervisor(const DaemonConfig& config, const std::string& run_dir);

// The file `status` of a runtime directory. kNotFound; kDataLoss.
absl::StatusOr<vmcore::v1::Facts> ReadVmcoreStatus(const std::string& run_dir);
// The file `exit`.
absl::StatusOr<vmcore::v1::Exit> ReadVmcoreExit(const std::string& run_dir);
ProcessIdentity ToIdentity(const vmcore::v1::ProcessId& process);

}  // namespace umld

#endif  // UMLD_UMLD_VMCORE_LAUNCH_H_
