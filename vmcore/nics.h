#ifndef UMLD_VMCORE_NICS_H_
#define UMLD_VMCORE_NICS_H_

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "devices/nic/nic_spec.h"
#include "devices/nic/tap.h"
#include "vmcore/change_queue.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The network interfaces of a guest, over all of its kernels: makes the host's ends and keeps them through reboots,
// plugs and unplugs by mconsole, one at a time, and knows which are there. What it made on the host is recorded in the
// file "taps" of the working directory, so that it can be taken back by whoever comes after a vmcore that was killed.
// Thread: the loop's. Blocks for netlink and the record's fsync.
class Nics {
 public:
  using Done = std::function<void(absl::Status)>;

  // `changed` runs when a kernel turns out not to have what it was started with. The kernel gets `deadline` for each
  // answer.
  explicit Nics(EventLoop* loop, std::function<void()> changed,
                EventLoop::Clock::duration deadline = std::chrono::seconds(10));
  Nics(const Nics&) = delete;
  Nics& operator=(const Nics&) = delete;

  // From now on the kernel sees nothing of the host's network, and asks us for its taps (GiveTap); without this, it
  // opens them itself. Before the first boot. `existing`: whether it may have a tap that is there already.
  void Confine(devices::ExistingTap existing);
  // To a confined kernel: attaches to the tap `name` if that is one of its interfaces'. As devices::AttachToTap, and
  // EPERM: it is none.
  int GiveTap(const std::string& name, unsigned flags, UniqueFd* attached) const;

  // Takes back what the record in the working directory tells of, and removes it.
  static absl::Status RemoveRecordedTaps();

  // Before each kernel: makes what `config` wants and takes back what it does not want any more. Errors name the
  // interface, and are those of devices::OpenTap, kNotFound or kFailedPrecondition for a switch that is
  // not there, and kFailedPrecondition, NEEDS_HOST_NETWORK, for what a confined kernel cannot reach.
  absl::Status PrepareBoot(const v1::GuestConfig& config);
  // `mconsole` outlives the kernel.
  void KernelStarted(MconsoleClient* mconsole);
  // Whether it was started with interfaces that nobody has asked it for yet.
  bool unproven() const { return unproven_; }
  // It has come to the end of its own boot (kernel_boot.h), however long that took: asks it for those.
  void KernelBooted();
  // Everything that is under way or waits gets kCancelled, with `reason`.
  void KernelGone(absl::string_view reason);
  // No further kernel comes: takes everything back.
  void End();

  bool IsLive(const devices::NicDevice& device) const { return nics_.count(device) != 0; }

  // On failure kernel and host are as they were. kAlreadyExists: the device is taken. Else as PrepareBoot;
  // kFailedPrecondition, KERNEL_REFUSED: the kernel has no such transport, or has an interface of that name.
  void Plug(const devices::NicSpec& spec, Done done);
  // kNotFound: no such interface. kFailedPrecondition, DEVICE_BUSY: it is up inside.
  void Unplug(const devices::NicDevice& device, Done done);

  // Runs `done` when everything asked before is done, or abandoned.
  void AfterAll(std::function<void()> done) { changes_.AfterAll(std::move(done)); }
  // Of a kernel that runs.
  void AddFacts(v1::Facts* facts) const;

 private:
  struct Nic {
    devices::NicSpec spec;
    std::optional<devices::HostEnd> host;
  };
  using Answer = std::function<void(const absl::StatusOr<MconsoleAnswer>&)>;

  absl::Status Open(const devices::NicSpec& spec);
  absl::Status OpenHost(const devices::NicSpec& spec, Nic* nic);
  void Close(const devices::NicDevice& device);
  bool IsHeld(const devices::NicDevice& device) const;
  absl::Status Record(const devices::HostEnd* more) const;
  void Ask(const std::string& command, Answer answer);
  void Configure(const devices::NicSpec& spec);
  void Probe(const devices::NicDevice& device, std::function<void(absl::StatusOr<bool>)> then);
  void ProveBooted(const devices::NicDevice& device);

  std::function<void()> changed_;
  EventLoop::Clock::duration deadline_;
  bool confined_ = false;
  devices::ExistingTap existing_ = devices::ExistingTap::kTaken;
  MconsoleClient* mconsole_ = nullptr;
  bool unproven_ = false;
  ChangeQueue changes_;
  std::map<devices::NicDevice, Nic> nics_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_NICS_H_
