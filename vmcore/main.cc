// vmcore: the supervisor of one running UML guest. umld starts it with nothing but three descriptors; it lives exactly
// as long as the guest does, with or without umld.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "vmcore/cgroup.h"
#include "vmcore/guest.h"
#include "vmcore/jail.h"
#include "vmcore/log.h"
#include "vmcore/nics.h"
#include "vmcore/privileges.h"
#include "vmcore/records.h"
#include "vmcore/seccomp_filter.h"
#include "vmcore/server.h"
#include "vmcore/syscall_list.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {
namespace {

constexpr char kVersion[] = "0.1.0";
constexpr int kLaunchFd = 3;   // a memfd with the serialised Launch
constexpr int kLockFd = 4;     // locked by umld; that it is open is the proof that this guest lives
constexpr int kControlFd = 5;  // the first connection
constexpr size_t kMaxLaunchBytes = size_t{1} << 20;
constexpr char kSocket[] = "vmcore.sock";

absl::StatusOr<v1::Launch> ReadLaunch() {
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(absl::StrCat("/proc/self/fd/", kLaunchFd), kMaxLaunchBytes));
  v1::Launch launch;
  if (!launch.ParseFromString(bytes) || launch.run_dir().empty()) {
    return absl::InvalidArgumentError("descriptor 3 holds no launch message; vmcore is started by umld");
  }
  return launch;
}

// The inherited descriptor, for us alone; not ok when there is none.
UniqueFd Inherit(int fd) { return UniqueFd(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1); }

// SIGTERM arrives through the loop; SIGHUP and SIGPIPE never.
absl::StatusOr<UniqueFd> TakeSignals() {
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  if (sigprocmask(SIG_BLOCK, &wanted, nullptr) != 0) return ErrnoError(errno, "sigprocmask");
  UniqueFd fd(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.ok()) return ErrnoError(errno, "signalfd");
  return fd;
}

void OnSignal(const UniqueFd& signals, Guest* guest) {
  signalfd_siginfo info = {};
  while (read(signals.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    Log(absl::StrCat("signal ", info.ssi_signo, " from process ", info.ssi_pid, ": stopping the guest"));
    if (absl::Status status = guest->Stop({}); !status.ok()) Log(status.message());
  }
}

// The guest's whole life.
absl::Status Supervise(const v1::Launch& launch, const UniqueFd& lock, UniqueFd control) {
  RemoveExitRecord();
  RETURN_IF_ERROR(WriteLaunchRecord(launch));
  ASSIGN_OR_RETURN(UniqueFd signals, TakeSignals());

  ASSIGN_OR_RETURN(std::unique_ptr<EventLoop> loop, EventLoop::Create());
  ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Create(loop.get(), kSocket, std::move(control)));
  ASSIGN_OR_RETURN(std::unique_ptr<Guest> guest, Guest::Create(loop.get(), launch, lock.get(), server.get()));
  server->SetGuest(guest.get());
  server->OnFinished([&loop] { loop->Quit(); });
  loop->Watch(signals.get(), EPOLLIN, [&signals, &guest](uint32_t) { OnSignal(signals, guest.get()); });
  loop->Run();
  unlink(kSocket);
  return absl::OkStatus();
}

// A guest that did not even begin ends in an exit record too: umld must not have to guess.
void RecordFailure(const v1::Launch& launch, const absl::Status& failure) {
  v1::Exit exit;
  exit.set_kind(v1::Exit::CRASHED);
  exit.set_reason(std::string(failure.message()));
  exit.set_ended_unix_ns(time(nullptr) * int64_t{1000000000});
  *exit.mutable_config() = launch.config();
  if (absl::Status status = WriteExitRecord(exit); !status.ok()) Log(status.message());
}

// Who has none, not even a hard limit, could not give the kernel its one byte (RunKernel in init_process.cc). An
// ordinary user may not.
void LetCoreLimitBeOne() {
  rlimit core = {};
  if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0) return;
  core.rlim_max = 1;
  setrlimit(RLIMIT_CORE, &core);
}

absl::Status Run() {
  ASSIGN_OR_RETURN(v1::Launch launch, ReadLaunch());
  close(kLaunchFd);
  UniqueFd lock = Inherit(kLockFd), control = Inherit(kControlFd);
  SetLogName(launch.config().name());
  BoundLogFile();
  umask(0077);
  if (chdir(launch.run_dir().c_str()) != 0) return ErrnoError(errno, absl::StrCat("enter ", launch.run_dir()));
  LetCoreLimitBeOne();
  // A kernel that is not confined has what umld's user has, and with it its supervisor.
  absl::Status status = launch.confinement() == v1::CONFINEMENT_STRICT ? DropUnneededCapabilities() : absl::OkStatus();
  if (status.ok()) status = Supervise(launch, lock, std::move(control));
  if (!status.ok()) RecordFailure(launch, status);
  return status;
}

// What umld runs when a vmcore was killed: `vmcore --remove-taps RUNTIME_DIRECTORY`. Control groups go too.
absl::Status RemoveTaps(const char* run_dir) {
  if (chdir(run_dir) != 0) return ErrnoError(errno, absl::StrCat("enter ", run_dir));
  absl::Status status = GuestCgroups::RemoveRecorded();
  status.Update(Nics::RemoveRecordedTaps());
  return status;
}

// What `umlctl host check` has umld run: `vmcore --check-confinement STATE_DIRECTORY UID`. Makes a jail and shows it a
// disk from there, as for a guest.
absl::StatusOr<v1::Facts> CheckConfinement(const std::string& state_dir, const std::string& uid) {
  RETURN_IF_ERROR(CheckSeccompFilter());
  Jail::Options options;
  options.name = "check";
  if (!absl::SimpleAtoi(uid, &options.uid)) return absl::InvalidArgumentError("no uid");
  std::string folder = state_dir + "/check.XXXXXX";
  if (mkdtemp(folder.data()) == nullptr || chdir(folder.c_str()) != 0) return ErrnoError(errno, folder);
  const std::string disk = folder + "/disk";
  UniqueFd fd(open(disk.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  absl::StatusOr<std::unique_ptr<Jail>> jail = Jail::Create(options);
  absl::Status status = jail.ok() ? Jail::CheckNamespaces() : jail.status();
  if (status.ok()) status = (*jail)->Show("disk", disk, Jail::Access::kReadWrite);
  v1::Facts facts;
  if (jail.ok()) (*jail)->AddFacts(&facts);
  if (jail.ok()) jail->reset();
  RETURN_IF_ERROR(RemoveFolder(folder));
  RETURN_IF_ERROR(status);
  return facts;
}

// For tools/record_syscalls and for people: the groups with their reasons, and a line per rule.
void PrintSyscallList() {
  constexpr const char* kConditions[] = {"", "equals", "no-bits", "all-bits"};
  for (const CallGroup& group : SyscallList()) {
    std::printf("# %s: %s\n", group.name, group.reason);
    for (const CallRule& rule : group.rules) {
      std::printf("%s", rule.name);
      if (rule.condition != CallRule::If::kAlways) {
        std::printf(" argument %u %s", rule.argument, kConditions[static_cast<int>(rule.condition)]);
      }
      for (uint32_t value : rule.values) std::printf(" 0x%x", value);
      if (rule.next.has_value()) std::printf(" next 0x%x", *rule.next);
      if (rule.error != 0) std::printf(" fails %d", rule.error);
      if (rule.by_vmcore) std::printf(" by-vmcore");
      std::printf("\n");
    }
  }
}

}  // namespace
}  // namespace umld::vmcore

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--syscall-list") {
    umld::vmcore::PrintSyscallList();
    return 0;
  }
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::printf("vmcore %s\n", umld::vmcore::kVersion);
    return 0;
  }
  if (argc == 4 && std::string(argv[1]) == "--check-confinement") {
    const absl::StatusOr<umld::vmcore::v1::Facts> confined = umld::vmcore::CheckConfinement(argv[2], argv[3]);
    if (!confined.ok()) {
      std::printf("%s\n%s\n", std::string(confined.status().message()).c_str(),
                  umld::GetErrorDetail(confined.status()).hint.c_str());
      return 1;
    }
    for (const umld::vmcore::v1::ConfinementPoint& point : confined->confinement_points()) {
      if (!point.in_force()) std::printf("not in force: %s: %s\n", point.name().c_str(), point.detail().c_str());
    }
    return 0;
  }
  const bool remove_taps = argc == 3 && std::string(argv[1]) == "--remove-taps";
  absl::Status status = remove_taps ? umld::vmcore::RemoveTaps(argv[2]) : umld::vmcore::Run();
  if (status.ok()) return 0;
  umld::vmcore::Log(absl::StrCat(remove_taps ? "" : "cannot run: ", status.message()));
  return 1;
}
