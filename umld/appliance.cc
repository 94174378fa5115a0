#include "umld/appliance.h"

#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "umld/vmcore_launch.h"

namespace umld {
namespace {

absl::Status RunIn(const DaemonConfig& config, const vmcore::v1::Launch& launch, absl::Duration patience) {
  ASSIGN_OR_RETURN(const UniqueFd lock, TakeSupervisorLock(launch.run_dir()));
  ASSIGN_OR_RETURN(const Vmcore vmcore, SpawnVmcore(config, launch, lock));
  const bool ended =
      WaitForExit(vmcore.child.pidfd.get(), std::chrono::milliseconds(absl::ToInt64Milliseconds(patience)));
  KillAndReap(vmcore.child);
  RETURN_IF_ERROR(AwaitProcesses(config, launch.run_dir()));
  if (!ended) {
    return MakeError(absl::StatusCode::kDeadlineExceeded,
                     absl::StrCat("it was not done within ", absl::FormatDuration(patience)), {"APPLIANCE", "", ""});
  }
  ASSIGN_OR_RETURN(const vmcore::v1::Exit exit, ReadVmcoreExit(launch.run_dir()));
  if (exit.kind() == vmcore::v1::Exit::POWERED_OFF) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAborted, exit.reason(), {"APPLIANCE", "", ""});
}

}  // namespace

absl::Status RunAppliance(const DaemonConfig& config, const GuestRuntime& runtime, KernelCatalog* catalog,
                          const state::GuestRow& row, const std::string& run_dir, const std::string& log_dir,
                          absl::Duration patience) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const KernelChoice> kernel, catalog->Hold(row.kernel));
  GuestView view;
  view.row = row;
  ASSIGN_OR_RETURN(vmcore::v1::Launch launch, NewLaunch(config, 0, row.relaxed));
  ASSIGN_OR_RETURN(*launch.mutable_config(), runtime.ConfigOf(view));
  // Nobody talks to it.
  launch.mutable_config()->clear_public_mconsole();
  launch.set_run_dir(run_dir);
  launch.set_log_dir(log_dir);
  RETURN_IF_ERROR(MakeFolders(run_dir, 0700));
  absl::Status status = RunIn(config, launch, patience);
  absl::Status removed = RemoveFolder(run_dir);
  return status.ok() ? removed : status;
}

}  // namespace umld
