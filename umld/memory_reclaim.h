#ifndef UMLD_UMLD_MEMORY_RECLAIM_H_
#define UMLD_UMLD_MEMORY_RECLAIM_H_

#include <cstdint>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"

namespace umld {

// Has idle guests give back the host memory that they have used once and have free now (vmcore's ReclaimMemory). Looks
// at all of them every DaemonConfig::reclaim_after, in the host's /proc alone, so that nobody is woken for it. One that
// has used less than one per cent of a processor since, and of which there may be something to get, is asked, one guest
// after the other; then not again until its host memory has grown or it has worked for a while. What is remembered for
// that is lost with this process. Guests that do not want it, that are paused or changed, or that have memory lent are
// left alone.
// A thread of its own. Thread-safe.
class MemoryReclaim {
 public:
  // All outlive it.
  MemoryReclaim(const DaemonConfig* config, GuestTable* table, GuestRuntime* runtime)
      : config_(config), table_(table), runtime_(runtime) {}
  ~MemoryReclaim();
  MemoryReclaim(const MemoryReclaim&) = delete;
  MemoryReclaim& operator=(const MemoryReclaim&) = delete;

  void Begin();
  // Asks no more guests; returns at once. What a vmcore is at it finishes by itself.
  void End();

 private:
  struct Watch {
    ProcessIdentity kernel;
    absl::Time time;     // of the last look
    absl::Duration cpu;  // used by then
    bool asked = false;
    absl::Duration cpu_when_asked{};
    uint64_t host_bytes_left = 0;  // afterwards
    absl::Time not_before = absl::InfinitePast();
  };

  void ThreadMain();
  void LookAt(const GuestPtr& guest, const GuestView& view);
  void Ask(const GuestPtr& guest, const GuestView& view);
  bool IsEnding();

  const DaemonConfig* const config_;
  GuestTable* const table_;
  GuestRuntime* const runtime_;
  std::map<uint64_t, Watch> watches_;  // by the guest's id; the thread's alone
  std::thread thread_;
  absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace umld

#endif  // UMLD_UMLD_MEMORY_RECLAIM_H_
