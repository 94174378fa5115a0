#ifndef UMLD_UMLD_GUEST_RUNTIME_H_
#define UMLD_UMLD_GUEST_RUNTIME_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/process.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/kernel_catalog.h"
#include "umld/warm_pool.h"
#include "umld/worker_pool.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

// The kernel argument with which a user asks for the kernel's mconsole notifications; the socket's path follows.
inline constexpr char kNotifyArgument[] = "mconsole=notify:";

// The bond between this daemon and the vmcores: launches them, finds them again after a restart, keeps the facts in the
// table true, and records how guests ended. Thread-safe. What blocks says so.
class GuestRuntime {
 public:
  // All outlive it. `facts_pool` is its own: it runs what must never wait for an operation.
  GuestRuntime(const DaemonConfig* config, GuestTable* table, KernelCatalog* catalog, WarmPool* warm_pool,
               EventLoop* loop, WorkerPool* facts_pool)
      : config_(config),
        table_(table),
        catalog_(catalog),
        warm_pool_(warm_pool),
        loop_(loop),
        facts_pool_(facts_pool) {}

  // Gives a guest that has none a vmcore: one of the warm pool, and its init is about to run; or a new one, when it is
  // its turn to boot, and returns when the guest is up or gone, or lets others have the turn. The result says which it
  // is, as WarmPool::Take. Blocks.
  // kFailedPrecondition, kNotFound, ...: a kernel or disk that cannot be used, named. The guest's line only.
  absl::StatusOr<std::string> Launch(const GuestPtr& guest);

  // Asks the facts about a guest after a start of umld: adopts its vmcore, or records how it ended, or leaves it
  // UNREACHABLE (and goes on trying). Blocks for at most about `patience`.
  void Recover(const GuestPtr& guest, absl::Duration patience);

  // What a change to a guest's devices, or its pause, may take: vmcore waits half of that for a guest that boots, and
  // then for each of its answers.
  static constexpr absl::Duration kChangePatience = absl::Seconds(60);

  // A request to the guest's vmcore. kUnavailable: there is none to reach; it is then UNREACHABLE until it answers
  // again. Blocks at most for `timeout`.
  absl::StatusOr<vmcore::v1::Reply> Call(const GuestPtr& guest, const vmcore::v1::Request& request,
                                         absl::Duration timeout);

  // Waits until vmcore is done with what it was asked before, by whichever umld, and takes its facts of then. Blocks.
  absl::Status Settle(const GuestPtr& guest, absl::Duration timeout);

  // Kills the supervisor itself, and with it everything of the guest: for one that does not answer any more.
  void KillSupervisor(const GuestPtr& guest);

  // `ahead` is told, on the loop's thread, when vmcore's configuration is newer than the one committed: a change of
  // disks was finished that this umld no longer waited for. It is to call TakeOverConfig in the guest's line, when
  // what is under way there has been committed. Set once, before the first guest.
  void OnConfigAhead(std::function<void(const GuestPtr&)> ahead) { config_ahead_ = std::move(ahead); }
  // Commits vmcore's configuration, if it still is newer than ours. Blocks on the disk.
  void TakeOverConfig(const GuestPtr& guest, const vmcore::v1::GuestConfig& config);

  // What the guest's next kernel is to be started with. One that runs and follows the default keeps the kernel that it
  // was started with. Errors: its kernel cannot be used.
  absl::StatusOr<vmcore::v1::GuestConfig> ConfigOf(const GuestView& view) const;

 private:
  absl::StatusOr<vmcore::v1::Launch> PrepareLaunch(const GuestView& view);
  absl::Status SetKernel(const GuestView& view, vmcore::v1::GuestConfig* config) const;
  absl::Status PrepareDisks(const GuestView& view);
  absl::Status LaunchWarm(const GuestPtr& guest, const vmcore::v1::Launch& launch, WarmKernel* warm);
  absl::Status LaunchCold(const GuestPtr& guest, const vmcore::v1::Launch& launch);
  absl::Status AwaitOldProcesses(const GuestView& view);
  absl::Status Connect(const GuestPtr& guest, UniqueFd socket, absl::Duration timeout);
  absl::Status Reconnect(const GuestPtr& guest, absl::Duration timeout);
  void RetryLater(const GuestPtr& guest, absl::Duration delay);
  void WatchProcess(const GuestPtr& guest, UniqueFd pidfd, bool our_child);
  void OnEvent(const GuestPtr& guest, const vmcore::v1::Event& event);
  void OnClosed(const GuestPtr& guest);
  void OnFacts(const GuestPtr& guest, const vmcore::v1::Facts& facts);
  void RecordEnd(const GuestPtr& guest);
  void RecordState(const GuestPtr& guest, v1::GuestState state, const char* type, const std::string& message);

  const DaemonConfig* const config_;
  GuestTable* const table_;
  KernelCatalog* const catalog_;
  WarmPool* const warm_pool_;
  EventLoop* const loop_;
  WorkerPool* const facts_pool_;
  std::function<void(const GuestPtr&)> config_ahead_;
  // Kernels boot two to a processor: more at once come up no sooner, and meanwhile nobody else gets a processor.
  std::counting_semaphore<> boots_{std::max(2 * static_cast<int>(std::thread::hardware_concurrency()), 4)};
};

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_RUNTIME_H_
