#include "umld/appliance.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "umld/stray_taps.h"
#include "umld/vmcore_launch.h"

namespace umld {
namespace {

constexpr std::chrono::milliseconds kEndPatience(15000);
// A vmcore that has just been spawned says who it is a moment later.
constexpr absl::Duration kStatusPatience = absl::Seconds(10), kLookAgain = absl::Milliseconds(20);

void Kill(const UniqueFd& process) { syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0); }

// The namespace goes with its supervisor, a moment later.
absl::Status AwaitProcesses(const DaemonConfig& config, const std::string& run_dir) {
  if (const absl::StatusOr<vmcore::v1::Facts> facts = ReadVmcoreStatus(run_dir);
      facts.ok() && facts->boot_id() == ReadBootId()) {
    const absl::StatusOr<UniqueFd> init = OpenProcess(ToIdentity(facts->init()));
    if (init.ok() && !WaitForExit(init->get(), kEndPatience)) {
      return MakeError(absl::StatusCode::kUnavailable,
                       absl::StrCat("processes of a guest of umld's own do not end (pid ", facts->init().pid(), ")"),
                       {"OLD_PROCESSES", run_dir, absl::StrCat("see what keeps them: ps ", facts->init().pid())});
    }
  }
  return RemoveStrayTaps(config.vmcore_path, run_dir);
}

absl::Status RunIn(const DaemonConfig& config, const vmcore::v1::Launch& launch, absl::Duration patience) {
  ASSIGN_OR_RETURN(const UniqueFd lock, TakeSupervisorLock(launch.run_dir()));
  ASSIGN_OR_RETURN(const Vmcore vmcore, SpawnVmcore(config, launch, lock));
  const UniqueFd& process = vmcore.child.pidfd;
  const bool ended = WaitForExit(process.get(), std::chrono::milliseconds(absl::ToInt64Milliseconds(patience)));
  if (!ended) Kill(process);
  siginfo_t info = {};
  waitid(P_PIDFD, static_cast<id_t>(process.get()), &info, WEXITED);
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

absl::Status EndAppliance(const DaemonConfig& config, const std::string& run_dir) {
  for (const absl::Time end = absl::Now() + kStatusPatience;; absl::SleepFor(kLookAgain)) {
    const absl::StatusOr<UniqueFd> lock = TakeSupervisorLock(run_dir);
    if (lock.ok()) break;
    if (!absl::IsUnavailable(lock.status()) || absl::Now() > end) return lock.status();
    const absl::StatusOr<vmcore::v1::Facts> facts = ReadVmcoreStatus(run_dir);
    if (!facts.ok()) continue;
    const absl::StatusOr<UniqueFd> process = OpenProcess(ToIdentity(facts->vmcore()));
    if (!process.ok()) continue;
    Kill(*process);
    WaitForExit(process->get(), kEndPatience);
  }
  RETURN_IF_ERROR(AwaitProcesses(config, run_dir));
  return RemoveFolder(run_dir);
}

}  // namespace umld
