#ifndef UMLD_VMCORE_DISKS_H_
#define UMLD_VMCORE_DISKS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_spec.h"
#include "vmcore/change_queue.h"
#include "vmcore/jail.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The disks of one running kernel: plugs and unplugs them by mconsole, one at a time, and knows which are there.
// One object per kernel process. Thread: the loop's. Blocks only while it looks at the files of a new disk, or makes
// its COW file.
class Disks {
 public:
  using Done = std::function<void(absl::Status)>;

  // Checks the files of all disks of a configuration before a kernel is started with them, makes what the kernel needs
  // to find (kernel_disk.h), and the placeholder that keeps ubda free (kernel_command_line.h). The working directory is
  // the kernel's. Errors name the disk.
  static absl::Status PrepareBoot(const v1::GuestConfig& config, Jail* jail);

  // `config` is what the kernel was started with; it gets `deadline` for each answer. `mconsole` and `jail`, nullptr
  // for a kernel that is not confined, outlive this object.
  Disks(EventLoop* loop, MconsoleClient* mconsole, Jail* jail, const v1::GuestConfig& config,
        EventLoop::Clock::duration deadline = std::chrono::seconds(10));
  ~Disks();
  Disks(const Disks&) = delete;
  Disks& operator=(const Disks&) = delete;

  // By unit.
  const std::map<uint32_t, v1::Disk>& live() const { return live_; }

  // On failure the kernel is as it was. kAlreadyExists: the unit is taken. kInvalidArgument, kNotFound,
  // kPermissionDenied: from the checks of spec and files. kFailedPrecondition: another disk of this guest uses the
  // file. kDeadlineExceeded: the kernel does not answer.
  void Plug(const v1::Disk& disk, Done done);
  // kNotFound: no such disk. kFailedPrecondition, DEVICE_BUSY: it is mounted or in use as swap.
  void Unplug(uint32_t unit, Done done);
  // Unplugs it and plugs it again, so that the kernel sees the file as it is now. Errors as Unplug and as Plug's
  // checks, and then all is as it was; kFailedPrecondition, DISK_LOST: the kernel let go of it and did not take it
  // again.
  void Replug(uint32_t unit, Done done);

  // Takes away what keeps ubda free, as the first Plug of ubda would.
  void MakeRoom(Done done);

  // Runs `done` when everything asked before is done, or abandoned.
  void AfterAll(std::function<void()> done) { changes_.AfterAll(std::move(done)); }

  // The kernel has ended: everything that is under way or waits gets kCancelled, with `reason`.
  void Abandon(absl::string_view reason);

 private:
  using Answer = std::function<void(const absl::StatusOr<MconsoleAnswer>&)>;

  void Finish(const absl::Status& status) { changes_.Finish(status); }
  void Ask(const std::string& command, Answer answer);

  void FreeUbda(std::function<void(absl::Status)> then);
  // A plug under way.
  struct Wanted {
    v1::Disk disk;
    devices::DiskSpec spec;   // as it is wanted
    devices::DiskSpec shown;  // as the kernel is told
    bool created_cow = false;
    std::function<void(absl::Status)> then;
  };

  // `replacing`: the unit may be live, because that disk goes first.
  absl::StatusOr<devices::DiskFile> Check(const v1::Disk& disk, bool replacing) const;
  void Prepare(const v1::Disk& disk, const devices::DiskFile& file, std::function<void(absl::Status)> then);
  void Configure(const Wanted& wanted);
  void Refuse(const Wanted& wanted, const absl::Status& refusal);
  void LearnPlug(const Wanted& wanted, const absl::Status& timeout);
  void Cleanse(uint32_t unit, std::function<void()> then);
  void Remove(uint32_t unit, std::function<void(absl::Status)> then);
  void LearnUnplug(uint32_t unit, const absl::Status& timeout, std::function<void(absl::Status)> then);

  EventLoop* loop_;
  MconsoleClient* mconsole_;
  Jail* jail_;
  EventLoop::Clock::duration deadline_;
  std::map<uint32_t, v1::Disk> live_;
  bool ubda_placeholder_ = false;
  EventLoop::Clock::time_point busy_until_{};
  EventLoop::TimerId timer_ = 0;  // of the operation under way
  ChangeQueue changes_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_DISKS_H_
