#ifndef UMLD_UMLD_WARM_POOL_H_
#define UMLD_UMLD_WARM_POOL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/daemon_config.h"
#include "umld/kernel_catalog.h"
#include "umld/v1/pools.pb.h"
#include "umld/vmcore_client.h"
#include "umld/vmcore_launch.h"

namespace umld {

// A kernel that was booted before anybody asked for a guest: its supervisor, confined as any, which ends when `client`
// is closed before somebody has sent it a Claim.
struct WarmKernel {
  uint64_t id = 0;      // from the guests' sequence, so that folder and uid are nobody else's, now or later
  std::string run_dir;  // as it is named now
  Vmcore vmcore;
  std::shared_ptr<VmcoreClient> client;
  vmcore::v1::Facts facts;                     // when it began to wait
  std::string kernel_file;                     // path, inode and time of what was booted
  std::shared_ptr<const KernelChoice> kernel;  // held: its files stay
};

// The warm pool: keeps as many kernels waiting as were asked for, of each class (a kernel and a size of memory), as far
// as the host has memory for them. One thread of its own boots them, one after the other, at the lowest priority.
// Thread-safe. What blocks says so.
class WarmPool {
 public:
  // All outlive it.
  WarmPool(const DaemonConfig* config, state::Store* store, KernelCatalog* catalog, EventLoop* loop)
      : config_(config), store_(store), catalog_(catalog), loop_(loop) {}
  ~WarmPool();

  // Removes what a killed umld may have left, reads what is wanted, and begins to boot. Blocks on the disk.
  absl::Status Begin();
  // Boots no more; returns at once. Those that wait, and the one that boots, end with this process.
  void End();

  // See pools.proto. Blocks on the disk.
  absl::StatusOr<v1::Pool> Set(const v1::SetPoolRequest& request);
  v1::ListPoolsResponse List();

  // A kernel for a guest that is about to be launched so; null: it has to be booted. `note` says which it is, for
  // people; empty: no class of the pool is the guest's. Never blocks.
  std::unique_ptr<WarmKernel> Take(const vmcore::v1::Launch& launch, std::string* note);
  // One that was taken and could not be used: ends it, and removes its folder. Blocks for milliseconds.
  void Discard(std::unique_ptr<WarmKernel> warm);

 private:
  struct Class {
    state::PoolRow row;
    std::vector<std::unique_ptr<WarmKernel>> ready;
    uint32_t booting = 0;
    uint64_t warm_starts = 0, cold_starts = 0;
    std::string problem;
    absl::Time not_before;  // the next boot
    absl::Duration patience;
  };
  using Key = std::pair<std::string, uint64_t>;  // as in the row: kernel, memory

  v1::Pool Show(const Class& pool) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ThreadMain();
  // What is too much, or no good any more.
  std::vector<std::unique_ptr<WarmKernel>> TakeUnwanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The class that is to get the next one; null: none now.
  Class* Lacking() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t MemoryTaken() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<WarmKernel>> Boot(const state::PoolRow& row);
  absl::StatusOr<uint64_t> NextId();
  void BootFor(const Key& key);

  const DaemonConfig* const config_;
  state::Store* const store_;
  KernelCatalog* const catalog_;
  EventLoop* const loop_;
  std::string initramfs_;
  absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;  // the thread shall look
  bool pressed_ ABSL_GUARDED_BY(mutex_) = false;  // the host is short of memory
  std::map<Key, Class> pools_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ = 0, last_id_ = 0;  // the thread's
  bool yields_ = false;                 // the thread's: it boots at the lowest priority, and can give it back
  std::thread thread_;
};

}  // namespace umld

#endif  // UMLD_UMLD_WARM_POOL_H_
