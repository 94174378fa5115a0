#ifndef UMLD_VMCORE_GUEST_H_
#define UMLD_VMCORE_GUEST_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/token_bucket.h"
#include "vmcore/balloon.h"
#include "vmcore/cgroup.h"
#include "vmcore/claim_line.h"
#include "vmcore/consoles.h"
#include "vmcore/disks.h"
#include "vmcore/launch.h"
#include "vmcore/lifecycle.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/nics.h"
#include "vmcore/notify_socket.h"
#include "vmcore/reboot_guard.h"
#include "vmcore/stop_sequence.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// Who is told of what happens to a guest: the server.
class GuestObserver {
 public:
  virtual ~GuestObserver() = default;
  virtual void OnFacts(const v1::Facts& facts) = 0;
  virtual void OnRebooted(bool by_guest, const v1::Facts& facts) = 0;
  virtual void OnUserMessage(absl::string_view message) = 0;
  // The exit record is on the disk. The last call.
  virtual void OnExit(const v1::Exit& exit) = 0;
};

// Owns one UML guest from spawn to reap, over all the kernels that its reboots need: its processes, consoles, disks,
// interfaces, configuration and the files that tell of it. The working directory is the guest's runtime directory.
// Thread: vmcore's loop only. Never blocks, but for the writing of small files.
class Guest {
 public:
  using Done = std::function<void(absl::Status)>;
  using MconsoleDone = MconsoleClient::Done;

  // `observer` outlives the guest. `lock_fd`: see KernelProcesses, or -1. The guest begins to start at once; whatever
  // goes wrong from here on ends in an exit record. kInternal: the host refuses what every guest needs (a pty).
  static absl::StatusOr<std::unique_ptr<Guest>> Create(EventLoop* loop, const v1::Launch& launch, int lock_fd,
                                                       GuestObserver* observer);
  ~Guest();

  v1::Facts facts() const;
  // nullptr: there is no such console, or it goes nowhere. Valid as long as the guest.
  Console* console(absl::string_view name) const { return consoles_.Find(name); }
  // A viewer has come or gone.
  void OnViewersChanged() { Announce(); }

  // Of a guest whose kernel waits (Launch.waits_in), once Facts.waiting: makes it the one of `request`.
  // kFailedPrecondition: CLAIM_UNFIT, nothing was done; on any other error this guest ends.
  void Claim(const v1::Claim& request, Done done);
  // The connection on which it was launched is gone: a kernel that nobody has claimed ends.
  void OnLauncherGone();

  // Asks the guest to power off, and ends it step by step. Returns at once; the end arrives as OnExit.
  absl::Status Stop(const v1::Stop& request);
  // The same, and a new kernel with the current configuration follows: OnRebooted.
  absl::Status Reboot(const v1::Reboot& request);
  absl::Status Kill();
  // kFailedPrecondition: not in this state. kDeadlineExceeded: the kernel does not answer.
  void Pause(Done done);
  void Resume(Done done);
  // See Disks. In a guest that is starting they wait until it is up, half a minute at most.
  void PlugDisk(const v1::PlugDisk& request, Done done);
  void UnplugDisk(const v1::UnplugDisk& request, Done done);
  void ReplugDisk(const v1::ReplugDisk& request, Done done);
  // See Balloon. Waits for the guest to be up, as the above.
  void ChangeMemory(const v1::ChangeMemory& request, Done done);
  void ReclaimMemory(const v1::ReclaimMemory& request, Done done);
  // See Consoles. Waits for the guest to be up, as the above.
  void SetConsole(const v1::SetConsole& request, Done done);
  // See Nics. Wait for the guest to be up, as the above.
  void PlugNic(const v1::PlugNic& request, Done done);
  void UnplugNic(const v1::UnplugNic& request, Done done);
  // Runs `done` when all changes of disks, consoles and interfaces that were asked for before are done or have failed.
  void Settle(std::function<void()> done);
  // kInvalidArgument: no kernel could be started with it, or it is another guest's.
  absl::Status SetConfig(const v1::GuestConfig& config);
  // A command of a user, under the rules of JudgeRawCommand.
  void Mconsole(const v1::Mconsole& request, MconsoleDone done);

 private:
  // A kernel that says nothing is looked at less and less often, in the end once in this time.
  static constexpr std::chrono::milliseconds kLookAtMost{60000};

  Guest(EventLoop* loop, v1::Launch launch, int lock_fd, GuestObserver* observer);

  absl::Status BindNotifySocket();

  // One kernel, from start to end.
  void StartKernel();
  absl::Status MakeJail();
  absl::Status ShowKernel();
  absl::Status TryStartKernel();
  void OnKernelStarted(const ProcessIdentity& kernel);
  void OnUserMessage(absl::string_view message);
  // For what is typed: see Console::SetAtRest.
  bool IsAtRest();
  void OnMconsoleUp();
  void AskVersion();
  void LookForMconsole(EventLoop::Clock::duration delay);
  void OnKernelGone(const KernelEnd& end);
  ExitReason Classify(const KernelEnd& end);
  void OnOutOfMemory();
  void ForgetKernel();

  // The life before it is a guest's; guest_claim.cc.
  bool IsUnclaimed() const { return !launch_.waits_in().empty(); }
  absl::Status PrepareToWait(std::vector<std::string>* argv, std::vector<int>* terminals);
  void OnWaiting();
  absl::Status CheckClaim(const v1::Launch& launch) const;
  absl::Status BecomeGuest(const v1::Launch& launch);
  void PlugAll();
  void TellClaim();
  void OnDecided(const absl::Status& status);

  // The one way to the state machine, and what its effects mean.
  LifeEffect Apply(LifeEvent event);
  void BeginStop();
  void StartNextKernel(bool by_guest);
  void Finish(v1::Exit::Kind kind);

  void Freeze(MconsoleDone done);
  void Thaw(MconsoleDone done);
  // `then` gets OK as soon as the kernel is known to take changes.
  void WhenUp(std::function<void(absl::Status)> then);
  bool MayLook() const;
  void LookForEndOfBoot();
  void WhenChangeable(std::function<void(absl::Status)> then);
  bool IsFrozen() const;
  static absl::Status FrozenError();
  void ReleaseWaiters(const absl::Status& status);
  void GiveOwedLater();
  void ChangeConfig(uint32_t unit, const v1::Disk* disk, uint64_t etag);
  void ChangeConsoleConfig(const v1::SetConsole& change);
  void ChangeNicConfig(const std::string& device, const v1::Nic* nic, uint64_t etag);
  void Announce();
  absl::Status WrongState(absl::string_view what) const;

  EventLoop* loop_;
  GuestObserver* observer_;
  int lock_fd_;
  v1::Launch launch_;
  v1::GuestConfig config_;  // what the next kernel gets
  std::string boot_id_;
  ProcessIdentity self_;

  Lifecycle lifecycle_;
  std::unique_ptr<Jail> jail_;  // nullptr: the kernel is not confined
  std::unique_ptr<NotifySocket> notify_;
  Consoles consoles_;
  Nics nics_;

  std::unique_ptr<GuestCgroups> cgroups_;  // over all its kernels

  // The kernel of now; replaced as a whole by the next boot.
  std::unique_ptr<KernelProcesses> processes_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<Disks> disks_;
  std::unique_ptr<Balloon> balloon_;
  std::unique_ptr<StopSequence> stop_;
  ProcessIdentity kernel_;
  bool came_up_ = false;                   // its mconsole answers
  bool waits_ = false;                     // it waits to be claimed
  bool warm_ = false;                      // it has waited, and was claimed
  std::unique_ptr<ClaimLine> claim_line_;  // from its start until that is decided
  Done claim_done_;                        // while it is being claimed
  std::string claim_failure_;
  bool booted_ = false;                     // it is known to take changes; see kernel_boot.h
  bool looking_ = false;                    // for that, and soon
  std::chrono::milliseconds look_later_{};  // until the next look, when nobody waits
  bool blind_ = false;                      // it cannot be seen whether the guest is at rest, and that has been said
  int freezing_ = 0;                        // requests to freeze it that are under way
  std::string panic_;
  std::string kernel_version_;
  uint64_t con0_start_ = 0;  // what con0 had printed before this kernel
  int64_t started_unix_ns_ = 0;
  EventLoop::TimerId look_timer_ = 0;
  EventLoop::TimerId owed_timer_ = 0;  // for memory that could not be given back

  v1::Isolation isolation_ = v1::ISOLATION_AUTO;  // in force, once a kernel has been started
  uint32_t boots_ = 0;
  RebootGuard reboots_;  // of the guest's own
  // What it writes to /proc/mconsole: a hundred at once, and one per second in the long run.
  TokenBucket messages_{1, 100};
  uint64_t messages_dropped_ = 0;
  StopGraces graces_;  // of the latest request to stop
  ExitReason last_end_;
  std::string stop_stage_;

  struct Waiter {
    std::function<void(absl::Status)> then;
    EventLoop::TimerId timer;
  };
  std::deque<Waiter> waiters_;  // for the guest to take changes
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_GUEST_H_
