#ifndef UMLD_UMLD_APPLIANCE_H_
#define UMLD_UMLD_APPLIANCE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "state/rows.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/kernel_catalog.h"

namespace umld {

// A guest of umld's own: real and confined as any, but in no table and no database. It does one piece of work on a disk
// that the host must not read itself, and powers off. All of them have the uid of guest 0, so one runs at a time.

// Runs it to its end, in a new runtime directory, which is gone afterwards; `log_dir`, which exists, gets its logs.
// `row` has its name, kernel, memory, arguments and disks. kDeadlineExceeded: it was killed after `patience`. kAborted:
// it did not power off. Whatever comes, nothing of it lives any more. Blocks.
absl::Status RunAppliance(const DaemonConfig& config, const GuestRuntime& runtime, KernelCatalog* catalog,
                          const state::GuestRow& row, const std::string& run_dir, const std::string& log_dir,
                          absl::Duration patience);

}  // namespace umld

#endif  // UMLD_UMLD_APPLIANCE_H_
