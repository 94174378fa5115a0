#ifndef UMLD_VMCORE_CGROUP_H_
#define UMLD_VMCORE_CGROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The control groups of one guest: what its kernel's processes may use of the host. One group below this process's own
// per controller (cpu, memory, pids, blkio) where the host has version 1; where it has version 2 one for all, in the
// folder that umld names (Launch.cgroup_folder). It is vmcore
// that has them, since they are there as long as the guest, with or without umld, and since vmcore is the one that sees
// the end and has to say why; vmcore itself stays outside, so that a guest at its limit still has its supervisor.
// Recorded in the working directory (the guest's runtime directory) before they are made, and removed at the end.
// Thread: the loop's. Blocks on small files of the kernel's.
class GuestCgroups {
 public:
  // What a guest gets that names no limit of its own: its memory and what a kernel needs beside it, a number of
  // processes that UML's stubs never reach in a sane guest, and any CPU time that is free.
  static v1::Limits WithDefaults(const v1::Limits& wanted, uint64_t guest_memory);

  // Of vmcore processes that were killed: what is in the record, where no process is left. Fine without a record.
  static absl::Status RemoveRecorded();

  // Makes the groups. Whatever the host does not give is a point that is not in force, never an error by itself.
  // `out_of_memory` runs on the loop when the host has killed one of the guest's processes for its memory limit.
  GuestCgroups(EventLoop* loop, absl::string_view guest, const std::string& version2_folder,
               std::function<void()> out_of_memory);
  ~GuestCgroups();
  GuestCgroups(const GuestCgroups&) = delete;
  GuestCgroups& operator=(const GuestCgroups&) = delete;

  // Puts limits in force, also while the guest runs. kFailedPrecondition: one that was asked for by name cannot be
  // (LIMIT_UNAVAILABLE), or the guest uses more memory than that by now (LIMIT_TOO_LOW); the others are in force.
  absl::Status Apply(const v1::Limits& wanted, uint64_t guest_memory);
  // The disk limits hold for the devices that these files are on, from now on and for every Apply. Errors as Apply's.
  absl::Status CoverDisks(const std::vector<std::string>& files);

  // Files that the guest's first process writes "0" to, to join.
  std::vector<int> entrances() const;
  // Why the kernel may have ended: "out of memory: its limit is 256M"; empty: for nothing that these groups know of.
  std::string Reason() const;
  // The same, once: the next kernel is not blamed for it.
  std::string TakeReason();
  // Removes them; no process is in them any more.
  void Remove();
  void AddFacts(v1::Facts* facts) const;

 private:
  struct Controller {
    bool version2 = false;
    std::string folder;   // empty: not to be had
    std::string missing;  // why
    UniqueFd entrance;
  };

  void Make(const std::string& name, Controller* controller);
  void WatchMemory();
  void LookForKill(int looks);
  absl::Status Set(const std::string& controller, const std::string& value, bool named);
  absl::Status SetFile(const std::string& controller, const std::string& file, const std::string& value, bool named);
  absl::Status LimitDisks();
  std::string Read(const std::string& controller, const char* version1, const char* version2) const;
  uint64_t Count(const std::string& controller, const char* version1, const char* version2,
                 absl::string_view word) const;

  EventLoop* loop_;
  std::string name_;
  std::function<void()> out_of_memory_;
  std::map<std::string, Controller> controllers_;
  v1::Limits limits_;           // in force, or asked for
  std::set<dev_t> devices_;     // of the guest's disks
  bool disks_limited_ = false;  // now, or before
  std::string uncovered_disk_;  // a file that is on no device that can be limited
  UniqueFd event_;
  EventLoop::TimerId look_timer_ = 0;
  uint64_t killed_before_ = 0;
};

// Where a process's group of a controller is. Pure, for tests: `own` is /proc/self/cgroup, `mounts`
// /proc/self/mountinfo.
struct GroupPlace {
  bool version2 = false;
  std::string folder;
};
std::optional<GroupPlace> FindGroup(absl::string_view own, absl::string_view mounts, absl::string_view controller);

// The whole block device that a file is on, or that it is; 0: none (a memory or network file system, or one that spans
// devices).
dev_t DeviceUnder(const std::string& file);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CGROUP_H_
