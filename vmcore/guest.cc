#include "vmcore/guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/credentials.h"
#include "base/file.h"
#include "base/host_path.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "kernel/kernel_idle.h"
#include "vmcore/disk_message.h"
#include "vmcore/kernel_command_line.h"
#include "vmcore/kernel_disk.h"
#include "vmcore/kernel_paths.h"
#include "vmcore/log.h"
#include "vmcore/protocol.h"
#include "vmcore/records.h"
#include "vmcore/unix_clock.h"

// The life of a guest. What users ask of it is in guest_requests.cc, what is before it in guest_claim.cc.
namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookForMconsole(5000);
constexpr milliseconds kLookLater(250);
constexpr milliseconds kVersionDeadline(30000);
constexpr size_t kTailBytes = 16 * 1024;
constexpr size_t kLastLines = 20;

v1::State WireState(LifeState state) {
  switch (state) {
    case LifeState::kStarting:
      return v1::STATE_STARTING;
    case LifeState::kRunning:
      return v1::STATE_RUNNING;
    case LifeState::kPaused:
      return v1::STATE_PAUSED;
    case LifeState::kStopping:
    case LifeState::kRebooting:
    case LifeState::kKilling:
      return v1::STATE_STOPPING;
    case LifeState::kExited:
      return v1::STATE_EXITED;
  }
  return v1::STATE_UNSPECIFIED;
}

void SetProcess(const ProcessIdentity& process, v1::ProcessId* message) {
  message->set_pid(process.pid);
  message->set_start_ticks(process.start_ticks);
}

// A file that this user may read.
absl::StatusOr<devices::FileId> FindKernel(const std::string& path) {
  const UniqueFd file = OpenHostPath(path, O_PATH | O_CLOEXEC);
  struct stat info = {};
  if (!file.ok() || fstat(file.get(), &info) != 0) return ErrnoError(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the kernel ", path, " is not a regular file"),
                     {"NOT_A_UML_KERNEL", path, "give the guest another kernel (umlctl set GUEST --kernel ...)"});
  }
  const UniqueFd readable(open(absl::StrCat("/proc/self/fd/", file.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!readable.ok()) return ErrnoError(errno, path);
  return devices::IdOf(info);
}

LifeEvent EventOf(EndKind kind) {
  switch (kind) {
    case EndKind::kPoweredOff:
      return LifeEvent::kGuestPoweredOff;
    case EndKind::kRebooted:
      return LifeEvent::kGuestRebooted;
    case EndKind::kCrashed:
      break;
  }
  return LifeEvent::kKernelCrashed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Guest>> Guest::Create(EventLoop* loop, const v1::Launch& launch, int lock_fd,
                                                     GuestObserver* observer) {
  std::unique_ptr<Guest> guest(new Guest(loop, launch, lock_fd, observer));
  RETURN_IF_ERROR(guest->consoles_.PrepareBoot(guest->config_));
  // Of a vmcore that was killed, when no umld came to clean up after it.
  if (absl::Status status = Nics::RemoveRecordedTaps(); !status.ok()) Log(status.message());
  guest->cgroups_ = std::make_unique<GuestCgroups>(loop, guest->config_.name(), launch.cgroup_folder(),
                                                   [g = guest.get()] { g->OnOutOfMemory(); });
  RETURN_IF_ERROR(guest->MakeJail());
  guest->Announce();
  loop->RunAfter(EventLoop::Clock::duration::zero(), [g = guest.get()] { g->StartKernel(); });
  return guest;
}

Guest::Guest(EventLoop* loop, v1::Launch launch, int lock_fd, GuestObserver* observer)
    : loop_(loop),
      observer_(observer),
      lock_fd_(lock_fd),
      launch_(std::move(launch)),
      config_(launch_.config()),
      boot_id_(ReadBootId()),
      self_(IdentifyProcess(getpid()).value_or(ProcessIdentity{getpid(), 0})),
      consoles_(loop, {launch_.history_bytes(), launch_.log_dir(), launch_.log_rotate_bytes(),
                       [this] {
                         if (came_up_ && processes_ != nullptr) processes_->Nudge();
                       },
                       [this] { return IsAtRest(); }}),
      nics_(loop, [this] { Announce(); }) {
  if (IsUnclaimed()) config_.add_kernel_args("initrd=" + launch_.waits_in());
}

Guest::~Guest() {
  loop_->Cancel(look_timer_);
  loop_->Cancel(owed_timer_);
}

// Before anything else that is made in kKernelFolder.
absl::Status Guest::MakeJail() {
  RETURN_IF_ERROR(RemoveFolder(kKernelFolder));
  if (launch_.confinement() == v1::CONFINEMENT_RELAXED) return MakeFolders(kKernelFolder, 0700);
  if (launch_.isolation() == v1::ISOLATION_PROCESS_GROUP) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "a guest that is held by a process group is not confined",
                     {"CONFINEMENT_REFUSED", "", "create the guest with --confinement relaxed --trust trusted"});
  }
  ASSIGN_OR_RETURN(jail_, Jail::Create({launch_.uid(), config_.name()}));
  // As an ordinary user's it has what the host's kernel lets that user have; what root could open is another matter.
  nics_.Confine(launch_.uid() == 0 ? devices::ExistingTap::kTaken : devices::ExistingTap::kRefused);
  return absl::OkStatus();
}

// What every kernel needs to run, and an initrd when it is given one.
absl::Status Guest::ShowKernel() {
  if (jail_ == nullptr) return absl::OkStatus();
  const std::string shown = std::filesystem::absolute(kShownFolder).string();
  RETURN_IF_ERROR(jail_->Show(kShownFolder, shown, Jail::Access::kReadOnly));
  // A path may lead elsewhere by now: to what its user may open, and to a file alone.
  const std::optional<Credentials> opener = KernelOpenerOf(config_);
  ASSIGN_OR_RETURN(const devices::FileId kernel, ActAs(opener, [this] { return FindKernel(config_.kernel()); }));
  RETURN_IF_ERROR(jail_->Show(kKernelFolder, config_.kernel(), Jail::Access::kReadOnly, Jail::Checked{opener, kernel}));
  const bool of_this_kernel = config_.kernel_libraries_size() > 0;
  for (const std::string& library : of_this_kernel ? config_.kernel_libraries() : launch_.kernel_libraries()) {
    RETURN_IF_ERROR(jail_->Show(kKernelFolder, library, Jail::Access::kReadOnly));
  }
  for (absl::string_view argument : config_.kernel_args()) {
    if (!absl::ConsumePrefix(&argument, "initrd=")) continue;
    RETURN_IF_ERROR(Annotate(jail_->Show(kKernelFolder, std::string(argument), Jail::Access::kReadOnly), "initrd"));
  }
  return absl::OkStatus();
}

absl::Status Guest::BindNotifySocket() {
  NotifySocket::Callbacks callbacks;
  callbacks.mconsole_up = [this] { OnMconsoleUp(); };
  callbacks.panic = [this](absl::string_view text) { panic_ = std::string(text); };
  callbacks.user_message = [this](absl::string_view message) { OnUserMessage(message); };
  ASSIGN_OR_RETURN(notify_, NotifySocket::Bind(loop_, kNotifySocket, std::move(callbacks)));
  return jail_ == nullptr ? absl::OkStatus() : jail_->Give(kNotifySocket);
}

// Each becomes an event in umld's database.
void Guest::OnUserMessage(absl::string_view message) {
  if (!messages_.Take(1, EventLoop::Clock::now())) {
    ++messages_dropped_;
    return;
  }
  if (messages_dropped_ > 0) {
    observer_->OnUserMessage(absl::StrCat("[", std::exchange(messages_dropped_, 0),
                                          " messages were dropped here: the guest sends too many]"));
  }
  observer_->OnUserMessage(message);
}

// ---------------------------------------------------------------- one kernel

void Guest::StartKernel() {
  if (lifecycle_.state() != LifeState::kStarting) {
    // Asked to end before it began.
    Apply(LifeEvent::kGuestPoweredOff);
    return;
  }
  absl::Status status = TryStartKernel();
  if (status.ok()) return;
  Log(absl::StrCat("cannot start: ", status.message()));
  last_end_ = {};
  last_end_.reason = std::string(status.message());
  ForgetKernel();
  Apply(LifeEvent::kKernelCrashed);
}

absl::Status Guest::TryStartKernel() {
  ++boots_;
  came_up_ = false;
  booted_ = waits_ = warm_ = false;
  look_later_ = kLookLater;
  panic_.clear();
  kernel_version_.clear();
  kernel_ = {};
  started_unix_ns_ = NowUnixNs();
  ASSIGN_OR_RETURN(std::vector<std::string> argv, KernelArguments(config_));
  RETURN_IF_ERROR(consoles_.PrepareBoot(config_));
  con0_start_ = consoles_.con0()->history().end_offset();
  RETURN_IF_ERROR(MakeShownFolder(kShownFolder));
  if (jail_ != nullptr) RETURN_IF_ERROR(jail_->Prepare(config_.memory_bytes()));
  RETURN_IF_ERROR(BindNotifySocket());
  RETURN_IF_ERROR(ShowKernel());
  RETURN_IF_ERROR(Disks::PrepareBoot(config_, jail_.get()));
  RETURN_IF_ERROR(nics_.PrepareBoot(config_));
  // A pid file of an earlier kernel would say 1, and in a PID namespace that is always alive: the kernel would take
  // another umid.
  RETURN_IF_ERROR(RemoveFolder(kUmlDir));

  mconsole_ = std::make_unique<MconsoleClient>(loop_, MconsoleSocketPath(config_), kShownFolder);
  mconsole_->OnAnswersChanged([this] { Announce(); });
  disks_ = std::make_unique<Disks>(loop_, mconsole_.get(), jail_.get(), config_);
  balloon_ = std::make_unique<Balloon>(loop_, mconsole_.get(), config_.memory_bytes());
  consoles_.KernelStarted(mconsole_.get());
  notify_->PassOn(config_.notify_listener(), config_.public_mconsole());
  nics_.KernelStarted(mconsole_.get());
  KernelProcesses::Options options;
  options.terminals = consoles_.terminals();
  if (IsUnclaimed()) RETURN_IF_ERROR(PrepareToWait(&argv, &options.terminals));
  options.argv = std::move(argv);
  options.lock = lock_fd_;
  options.jail = jail_.get();
  options.give_tap = [this](const std::string& name, unsigned flags, UniqueFd* tap) {
    return nics_.GiveTap(name, flags, tap);
  };
  RETURN_IF_ERROR(cgroups_->CoverDisks(FilesOf(disks_->live())));
  RETURN_IF_ERROR(cgroups_->Apply(config_.limits(), config_.memory_bytes()));
  options.cgroups = cgroups_->entrances();
  options.isolation = isolation_ == v1::ISOLATION_AUTO ? launch_.isolation() : isolation_;
  ASSIGN_OR_RETURN(processes_, KernelProcesses::Launch(loop_, options,
                                                       {[this](const ProcessIdentity& p) { OnKernelStarted(p); },
                                                        [this](const KernelEnd& end) { OnKernelGone(end); }}));
  if (claim_line_ != nullptr) claim_line_->CloseKernelEnd();
  isolation_ = processes_->isolation();
  LookForMconsole(kLookForMconsole);
  return absl::OkStatus();
}

void Guest::OnKernelStarted(const ProcessIdentity& kernel) {
  kernel_ = kernel;
  Log(absl::StrCat("kernel ", kernel.pid, " started, boot ", boots_));
  Announce();
}

bool Guest::IsAtRest() {
  const absl::StatusOr<bool> idle = kernel::IsIdle(kernel_);
  if (!idle.ok() && !std::exchange(blind_, true)) {
    Log(absl::StrCat("cannot see whether the guest is at rest, and what is typed goes in slowly: ",
                     idle.status().message()));
  }
  return idle.value_or(false);
}

void Guest::OnMconsoleUp() {
  if (came_up_ || processes_ == nullptr) return;
  came_up_ = true;
  loop_->Cancel(std::exchange(look_timer_, 0));
  // One that waits has not started yet: that is when it is claimed.
  if (!IsUnclaimed()) {
    Apply(LifeEvent::kMconsoleUp);
    LookForEndOfBoot();
  }
  AskVersion();
}

void Guest::AskVersion() {
  mconsole_->Send("version", kVersionDeadline, [this](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!answer.ok() || answer->error != 0) return;
    kernel_version_ = OneCleanLine(answer->text);
    Announce();
  });
}

// For a kernel whose notification got lost: asks until its mconsole answers.
void Guest::LookForMconsole(EventLoop::Clock::duration delay) {
  look_timer_ = loop_->RunAfter(delay, [this, delay] {
    mconsole_->Send("version", delay, [this](const absl::StatusOr<MconsoleAnswer>& answer) {
      if (answer.ok() && answer->error == 0) OnMconsoleUp();
    });
    LookForMconsole(std::min<EventLoop::Clock::duration>(2 * delay, kLookAtMost));
  });
}

void Guest::OnKernelGone(const KernelEnd& end) {
  // What it said before it ended belongs to it.
  notify_->Drain();
  consoles_.Drain();
  last_end_ = Classify(end);
  if (!claim_failure_.empty()) last_end_.reason = std::exchange(claim_failure_, "");
  stop_stage_ = stop_ == nullptr ? "" : std::string(stop_->stage());
  Log(absl::StrCat("kernel ", kernel_.pid, " ended: ", last_end_.reason));
  ForgetKernel();
  const bool unasked = lifecycle_.state() == LifeState::kRunning || lifecycle_.state() == LifeState::kPaused;
  if (last_end_.kind == EndKind::kRebooted && unasked && reboots_.TooMany(EventLoop::Clock::now())) {
    last_end_.kind = EndKind::kCrashed;
    last_end_.reason = "reboots over and over";
  }
  Apply(EventOf(last_end_.kind));
}

// Which of its processes the host has chosen does not matter: a guest that lacks one is of no use.
void Guest::OnOutOfMemory() {
  if (processes_ == nullptr) return;
  Log(cgroups_->Reason());
  processes_->Kill();
}

ExitReason Guest::Classify(const KernelEnd& ended) {
  KernelEnd end = ended;
  end.limit = cgroups_->TakeReason();
  return ClassifyEnd(end, came_up_, panic_, consoles_.con0()->Tail(con0_start_, kTailBytes));
}

// All that belongs to the kernel that is gone. Requests that wait for it are told.
void Guest::ForgetKernel() {
  loop_->Cancel(std::exchange(look_timer_, 0));
  stop_.reset();
  absl::string_view reason = "the guest's kernel has ended";
  if (disks_ != nullptr) disks_->Abandon(reason);
  if (balloon_ != nullptr) balloon_->Abandon(reason);
  consoles_.KernelGone(reason);
  nics_.KernelGone(reason);
  if (mconsole_ != nullptr) mconsole_->Abandon(reason);
  looking_ = false;
  ReleaseWaiters(absl::CancelledError(reason));
  if (Done claim = std::exchange(claim_done_, nullptr)) claim(absl::CancelledError(reason));
  claim_line_.reset();
  disks_.reset();
  loop_->Cancel(std::exchange(owed_timer_, 0));
  balloon_.reset();
  mconsole_.reset();
  processes_.reset();
  if (jail_ != nullptr) jail_->KernelGone();
  if (absl::Status status = RemoveFolder(kUmlDir); !status.ok()) Log(status.message());
}

// ---------------------------------------------------------------- the state machine

LifeEffect Guest::Apply(LifeEvent event) {
  const LifeState before = lifecycle_.state();
  const LifeEffect effect = lifecycle_.On(event);
  if (before != lifecycle_.state()) {
    Log(absl::StrCat(LifeStateName(before), " -> ", LifeStateName(lifecycle_.state())));
  }
  switch (effect) {
    case LifeEffect::kIgnore:
    case LifeEffect::kRefuse:
    case LifeEffect::kAlready:
    case LifeEffect::kFreeze:
    case LifeEffect::kThaw:
      break;  // the request itself goes on with them
    case LifeEffect::kAnnounce:
      Announce();
      break;
    case LifeEffect::kBeginStop:
      BeginStop();
      break;
    case LifeEffect::kShortenStop:
      if (stop_ != nullptr) stop_->Shorten(graces_);
      Announce();
      break;
    case LifeEffect::kKillKernel:
      if (processes_ != nullptr) processes_->Kill();
      Announce();
      break;
    case LifeEffect::kStartKernel:
      StartNextKernel(/*by_guest=*/before != LifeState::kRebooting);
      break;
    case LifeEffect::kFinishPoweredOff:
      Finish(v1::Exit::POWERED_OFF);
      break;
    case LifeEffect::kFinishStopped:
      Finish(v1::Exit::STOPPED);
      break;
    case LifeEffect::kFinishKilled:
      Finish(v1::Exit::KILLED);
      break;
    case LifeEffect::kFinishCrashed:
      Finish(v1::Exit::CRASHED);
      break;
  }
  return effect;
}

void Guest::BeginStop() {
  Announce();
  if (processes_ == nullptr) return;  // StartKernel sees the state
  StopSequence::Kernel kernel;
  kernel.mconsole = mconsole_.get();
  kernel.mconsole_up = came_up_;
  kernel.terminate = [this] { processes_->Terminate(); };
  kernel.kill = [this] { processes_->Kill(); };
  kernel.console_offset = [this] { return consoles_.con0()->history().end_offset(); };
  kernel.console_since = [this](uint64_t offset) { return consoles_.con0()->Tail(offset, kTailBytes); };
  stop_ = std::make_unique<StopSequence>(loop_, std::move(kernel), graces_);
  ReleaseWaiters(WrongState("the guest is being stopped"));
  balloon_->AfterAll([] {});  // it needs its memory for that
}

void Guest::StartNextKernel(bool by_guest) {
  // Its input was meant for the kernel that is gone.
  consoles_.DropInput();
  const uint32_t boots_before = boots_;
  StartKernel();
  if (boots_ == boots_before || lifecycle_.state() != LifeState::kStarting) return;
  v1::Facts now = facts();
  if (absl::Status status = WriteStatusRecord(now); !status.ok()) Log(status.message());
  observer_->OnRebooted(by_guest, now);
}

void Guest::Finish(v1::Exit::Kind kind) {
  v1::Exit exit;
  exit.set_kind(kind);
  exit.set_reason(last_end_.reason);
  exit.set_exit_code(last_end_.exit_code);
  exit.set_signal(last_end_.signal);
  exit.set_ended_unix_ns(NowUnixNs());
  exit.set_boots(boots_);
  *exit.mutable_config() = config_;
  if (kind == v1::Exit::KILLED) exit.set_reason("killed");
  if (kind == v1::Exit::STOPPED) {
    exit.set_stop_stage(stop_stage_);
    exit.set_reason(stop_stage_.empty() ? "stopped before it was started" : absl::StrCat("stopped, by ", stop_stage_));
  }
  if (kind == v1::Exit::CRASHED) {
    for (std::string& line : consoles_.con0()->history().LastLines(kLastLines))
      *exit.add_last_lines() = std::move(line);
  }
  nics_.End();
  Log(absl::StrCat("end: ", exit.reason()));
  if (absl::Status status = WriteExitRecord(exit); !status.ok()) Log(status.message());
  notify_.reset();
  jail_.reset();
  cgroups_->Remove();
  for (const char* folder : {kKernelFolder, kShownFolder}) {
    if (absl::Status status = RemoveFolder(folder); !status.ok()) Log(status.message());
  }
  Announce();
  consoles_.AnnounceEnd();
  observer_->OnExit(exit);
}

// ---------------------------------------------------------------- facts

v1::Facts Guest::facts() const {
  v1::Facts facts;
  facts.set_version(kProtocolVersion);
  facts.set_state(WireState(lifecycle_.state()));
  SetProcess(self_, facts.mutable_vmcore());
  if (processes_ != nullptr) {
    SetProcess(processes_->init(), facts.mutable_init());
    SetProcess(kernel_, facts.mutable_kernel());
    for (const auto& [unit, disk] : disks_->live()) *facts.add_live_disks() = disk;
    nics_.AddFacts(&facts);
    facts.set_lent_memory_bytes(balloon_->lent());
    if (const Balloon::Reclaimed& got = balloon_->reclaimed(); got.count > 0) {
      v1::ReclaimedMemory* reclaimed = facts.mutable_reclaimed();
      reclaimed->set_count(got.count);
      reclaimed->set_total_bytes(got.total_bytes);
      reclaimed->set_bytes(got.bytes);
      reclaimed->set_unix_ns(got.unix_ns);
      reclaimed->set_longest_stop_us(
          static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(got.longest_stop).count()));
    }
    facts.set_mconsole_answers(came_up_ && mconsole_->answers());
  }
  facts.set_boot_id(boot_id_);
  facts.set_started_unix_ns(started_unix_ns_);
  facts.set_boots(boots_);
  facts.set_isolation(isolation_);
  facts.set_confinement(launch_.confinement());
  if (jail_ != nullptr) {
    jail_->AddFacts(&facts);
    v1::ConfinementPoint* seccomp = facts.add_confinement_points();
    seccomp->set_name("seccomp");
    seccomp->set_in_force(processes_ != nullptr && processes_->filtered());
    seccomp->set_detail(seccomp->in_force() ? "the system calls that a kernel needs; any other ends it, and is named"
                                            : "no kernel runs");
  }
  cgroups_->AddFacts(&facts);
  *facts.mutable_config() = config_;
  consoles_.AddFacts(&facts);
  facts.set_kernel_version(kernel_version_);
  facts.set_waiting(waits_);
  facts.set_warm(warm_);
  return facts;
}

void Guest::Announce() {
  v1::Facts now = facts();
  if (absl::Status status = WriteStatusRecord(now); !status.ok()) Log(status.message());
  observer_->OnFacts(now);
}

}  // namespace umld::vmcore
