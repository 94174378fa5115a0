#ifndef UMLD_VMCORE_LAUNCH_H_
#define UMLD_VMCORE_LAUNCH_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/process.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "vmcore/exit_reason.h"
#include "vmcore/jail.h"
#include "vmcore/tap_request.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The processes of one UML kernel from spawn to reap: init, the kernel below it, and whatever the kernel makes.
// They are held together by the best means that this host allows (see Isolation in vmcore.proto), and end when this
// process ends, by whatever signal.
// Thread: the loop's. Never blocks, but the destructor and, without a PID namespace, a last sweep of milliseconds.
class KernelProcesses {
 public:
  struct Options {
    std::vector<std::string> argv;  // argv[0] is an absolute path
    std::vector<int> terminals;     // see InitSpec; the caller's, who may close them once Launch has returned
    int lock = -1;                  // kept open by init as well, so that a free lock means that nothing is left
    v1::Isolation isolation = v1::ISOLATION_AUTO;
    // That the kernel is confined in, with what it shows; it outlives the processes. A confined kernel is held to its
    // system calls too (seccomp_filter.h): one that makes another is ended.
    Jail* jail = nullptr;
    GiveTap give_tap;          // for a confined kernel; runs in a process of its own
    std::vector<int> cgroups;  // see GuestCgroups::entrances
  };
  struct Callbacks {
    // The kernel's process is about to be executed.
    std::function<void(const ProcessIdentity&)> started;
    // Everything is gone and reaped. Runs once; the owner may destroy this object in it.
    std::function<void(const KernelEnd&)> gone;
  };

  // The caller is single-threaded; its working directory becomes the kernel's. With an ordinary user this moves the
  // calling process into a user namespace of its own, once.
  // kPermissionDenied: `isolation` was asked for by name, and this host refuses it. kInternal: fork failed.
  static absl::StatusOr<std::unique_ptr<KernelProcesses>> Launch(EventLoop* loop, const Options& options,
                                                                 Callbacks callbacks);
  // Kills what is left and waits for its end.
  ~KernelProcesses();
  KernelProcesses(const KernelProcesses&) = delete;
  KernelProcesses& operator=(const KernelProcesses&) = delete;

  // SIGTERM to the kernel's main process: it ends at once and without a sync.
  void Terminate();
  // SIGIO to it: makes it look at all its descriptors again. Only once its mconsole has been up: before, it could be
  // deadly.
  void Nudge();
  // Ends all of them, whatever they are doing. `gone` follows.
  void Kill();

  v1::Isolation isolation() const { return isolation_; }
  // The kernel's processes are held to their system calls.
  bool filtered() const { return filter_.ok(); }
  const ProcessIdentity& init() const { return init_; }

 private:
  KernelProcesses(EventLoop* loop, Callbacks callbacks);

  absl::Status ForkInit(const Options& options);
  void Watch();
  void ReadMessages();
  void WatchFilter(UniqueFd listener);
  void OnCaughtCall(uint32_t events);
  void AnswerTapRequest(const CaughtCall& call);
  void ListenAgain();
  void EndAnswer();
  void ForgetFilter();
  void ReapInit();

  EventLoop* loop_;
  Callbacks callbacks_;
  v1::Isolation isolation_ = v1::ISOLATION_AUTO;
  ProcessIdentity init_;
  UniqueFd init_pidfd_;
  UniqueFd socket_;
  UniqueFd filter_;  // the seccomp filter's listener, once it is on
  GiveTap give_tap_;
  UniqueFd answering_;  // the process that answers a request for a tap
  TokenBucket taps_;
  EventLoop::TimerId filter_pause_ = 0;
  KernelEnd end_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_LAUNCH_H_
