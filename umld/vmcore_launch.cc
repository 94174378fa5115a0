#include "umld/vmcore_launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "umld/guest_cgroup.h"
#include "umld/stray_taps.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

constexpr uint32_t kHistoryBytes = 64 * 1024;
constexpr uint64_t kLogRotateBytes = 4 << 20;
constexpr size_t kMaxRecordBytes = 1 << 20;
constexpr std::chrono::milliseconds kEndPatience(15000);
// A vmcore that has just been spawned says who it is a moment later.
constexpr absl::Duration kStatusPatience = absl::Seconds(10), kLookAgain = absl::Milliseconds(20);

absl::StatusOr<UniqueFd> LaunchFd(const vmcore::v1::Launch& launch) {
  UniqueFd fd(memfd_create("launch", MFD_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, "memfd_create");
  const std::string bytes = launch.SerializeAsString();
  if (write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return ErrnoError(errno, "write the launch message");
  }
  lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

void Kill(const UniqueFd& process) { syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0); }

}  // namespace

absl::StatusOr<vmcore::v1::Launch> NewLaunch(const DaemonConfig& config, uint64_t guest_id, bool relaxed) {
  vmcore::v1::Launch launch;
  launch.set_version(kVmcoreProtocol);
  launch.set_guest_id(guest_id);
  launch.set_isolation(config.isolation);
  if (relaxed) {
    launch.set_confinement(vmcore::v1::CONFINEMENT_RELAXED);
  } else {
    ASSIGN_OR_RETURN(const uint32_t uid, config.GuestUid(guest_id));
    launch.set_uid(uid);
  }
  launch.set_cgroup_folder(GuestCgroupFolder());
  launch.set_history_bytes(kHistoryBytes);
  launch.set_log_rotate_bytes(kLogRotateBytes);
  launch.set_created_unix_ns(absl::ToUnixNanos(absl::Now()));
  return launch;
}

absl::StatusOr<UniqueFd> TakeSupervisorLock(const std::string& run_dir) {
  const std::string path = run_dir + "/lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return MakeError(absl::StatusCode::kUnavailable, "a supervisor of this guest is still alive",
                     {"SUPERVISOR_ALIVE", path, "wait a moment and try again"});
  }
  return fd;
}

absl::StatusOr<Vmcore> SpawnVmcore(const DaemonConfig& config, const vmcore::v1::Launch& launch, const UniqueFd& lock) {
  for (const char* file : {"/exit", "/status", "/launch"}) unlink((launch.run_dir() + file).c_str());
  ASSIGN_OR_RETURN(const UniqueFd message, LaunchFd(launch));
  ASSIGN_OR_RETURN(auto sockets, PacketPair());
  const std::string log_path = launch.log_dir() + "/vmcore.log";
  const UniqueFd log(open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!log.ok()) return ErrnoError(errno, absl::StrCat("open ", log_path));
  SpawnOptions options;
  options.argv = {config.vmcore_path};
  options.fds = {{2, log.get()}, {3, message.get()}, {4, lock.get()}, {5, sockets.second.get()}};
  options.new_session = true;
  absl::StatusOr<Child> child = Spawn(options);
  if (!child.ok()) return Annotate(child.status(), "vmcore");
  return Vmcore{.child = *std::move(child), .control = std::move(sockets.first)};
}

void KillAndReap(const Child& vmcore) {
  Kill(vmcore.pidfd);
  siginfo_t info = {};
  while (waitid(P_PIDFD, static_cast<id_t>(vmcore.pidfd.get()), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

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

absl::Status EndSupervisor(const DaemonConfig& config, const std::string& run_dir) {
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

absl::StatusOr<vmcore::v1::Facts> ReadVmcoreStatus(const std::string& run_dir) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(run_dir + "/status", kMaxRecordBytes));
  return DecodeVmcoreFacts(bytes);
}

absl::StatusOr<vmcore::v1::Exit> ReadVmcoreExit(const std::string& run_dir) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(run_dir + "/exit", kMaxRecordBytes));
  return DecodeVmcoreExit(bytes);
}

ProcessIdentity ToIdentity(const vmcore::v1::ProcessId& process) { return {process.pid(), process.start_ticks()}; }

}  // namespace umld
