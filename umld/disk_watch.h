#ifndef UMLD_UMLD_DISK_WATCH_H_
#define UMLD_UMLD_DISK_WATCH_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "umld/daemon_config.h"
#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/guests.h"

namespace umld {

// The host's free space under the disks of running guests. Files of disks are sparse: they take space as guests write,
// and a guest whose write fails for want of it loses data. So before there is none left those guests are paused, with
// the reason, and go on when there is room again; before that there is a warning. Events: "host.disk_low",
// "host.disk_full", "host.disk_free", and the guests' own. A thread of its own, which sleeps the longer the more room
// there is. Thread-safe.
class DiskWatch {
 public:
  // All outlive it.
  DiskWatch(const DaemonConfig* config, state::Store* store, GuestTable* table, Guests* guests, EventLog* events)
      : config_(config), store_(store), table_(table), guests_(guests), events_(events) {}
  ~DiskWatch() { End(); }
  DiskWatch(const DiskWatch&) = delete;
  DiskWatch& operator=(const DiskWatch&) = delete;

  void Begin();
  // Returns when the thread has ended. Idempotent.
  void End();

 private:
  struct Space {
    std::string path;  // of some disk on it
    uint64_t free_bytes = 0, reserve_bytes = 0;
  };
  struct Turn {
    bool waits = false;
    absl::Time not_before = absl::InfinitePast();
    absl::Duration pause{};  // since the last one failed
  };
  enum class Level { kFine, kLow, kFull };
  using Spaces = std::map<dev_t, Space>;

  void ThreadMain();
  absl::Duration Look();
  // The file systems on which the guest's disks can still take space.
  std::vector<dev_t> Under(const GuestView& view, Spaces* spaces) const;
  void Tell(dev_t device, const Space& space);
  // In the guest's line, if it lives then, unless it is waiting there already for one of these. An error is logged.
  void InTurn(const GuestView& view, std::function<absl::Status(const GuestPtr&, const GuestView&)> body);
  void Pause(const GuestView& of, const std::string& reason);
  void Resume(const GuestView& of);
  void Forget(const GuestView& of);
  std::string Marker(const GuestView& view) const;

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Guests* const guests_;
  EventLog* const events_;
  std::map<dev_t, Level> levels_;  // the thread's alone
  std::thread thread_;
  absl::Mutex mutex_;
  bool end_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint64_t, Turn> turns_ ABSL_GUARDED_BY(mutex_);  // by the guest's id
};

}  // namespace umld

#endif  // UMLD_UMLD_DISK_WATCH_H_
