#ifndef UMLD_UMLD_IDENTITY_H_
#define UMLD_UMLD_IDENTITY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "state/rows.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/kernel_catalog.h"

namespace umld {

// What makes a guest another than the one it was copied from, on its root disk: machine-id, ssh host keys, host name,
// the seed of its random numbers. A filesystem that others have written is never read by the host: a guest of umld's
// own (umld/appliance.h) mounts and changes it, with guest/identity/init as its only program.

struct IdentityJob {
  std::string old_name, new_name;
  std::string kernel;  // as in a guest's row, with the next two
  std::optional<Credentials> kernel_opener;
  bool relaxed = false;
  std::string root_flags;  // with which the guest mounts its root; may be empty
  state::DiskRow root;     // nobody uses it meanwhile; its unit does not matter
  std::string folder;      // of this job, exists; what it needs is put there and left to the caller
  std::string run_dir;     // to be made, and gone afterwards
};

// Returns what was done, for people. One at a time. On any error the disk may be half changed.
// kAborted IDENTITY_UNCHANGED: there is nothing that it can mount, or a change did not reach the disk.
// kFailedPrecondition TOOL_MISSING, BUSYBOX_UNUSABLE. kResourceExhausted NO_SPACE: the host's disk is full. Blocks for
// seconds.
absl::StatusOr<std::vector<std::string>> RenewIdentity(const DaemonConfig& config, const GuestRuntime& runtime,
                                                       KernelCatalog* catalog, const IdentityJob& job);

}  // namespace umld

#endif  // UMLD_UMLD_IDENTITY_H_
