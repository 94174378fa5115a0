#ifndef UMLD_UMLD_GUESTS_H_
#define UMLD_UMLD_GUESTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/rows.h"
#include "umld/caller.h"
#include "umld/daemon_config.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"
#include "umld/kernel_catalog.h"
#include "umld/operations.h"
#include "umld/v1/services.pb.h"
#include "umld/volume_catalog.h"
#include "umld/worker_pool.h"

namespace umld {

// The verbs on guests: what CreateGuest, StartGuest, PlugDevice, ... mean. Policy lives here; gRPC and the bridge are
// thin edges over it. Split over files: guests.cc (define, change, remove), guest_power.cc (start to kill),
// guest_reset.cc, guest_devices.cc (which device is meant; mconsole), guest_memory.cc, guest_disks.cc, guest_resize.cc,
// guest_consoles.cc, guest_nics.cc, guest_stats.cc.
// Thread-safe. What blocks on a disk or a guest is to be called within InLine, or says that it queues itself.
class Guests {
 public:
  // All outlive it. `pool` runs operations, one line per guest; `urgent_pool` what must never wait behind them.
  Guests(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations,
         GuestRuntime* runtime, const KernelCatalog* catalog, VolumeCatalog* volumes, WorkerPool* pool,
         WorkerPool* urgent_pool)
      : config_(config),
        store_(store),
        table_(table),
        operations_(operations),
        runtime_(runtime),
        catalog_(catalog),
        volumes_(volumes),
        pool_(pool),
        urgent_pool_(urgent_pool) {}

  // Runs `body` when everything asked of this guest before is done. `body` gets kNotFound when there is no such guest.
  void InLine(absl::string_view name, std::function<void(absl::StatusOr<GuestPtr>)> body);
  // The same for several guests, when it is the turn of all of them. An error says that one of them is gone.
  void InLines(const std::vector<GuestPtr>& guests, std::function<void(const absl::Status&)> body);
  v1::Guest Show(const GuestPtr& guest) const;
  v1::Guest Show(const GuestView& view) const;
  // Into `out`, which is empty; `summary` as in ListGuestsRequest.
  void Show(const GuestView& view, bool summary, v1::Guest* out) const;

  // -- guests.cc. Block on the disk.
  absl::StatusOr<v1::Guest> Create(const v1::CreateGuestRequest& request, const Caller& caller);
  // The row of a guest as Create would make it, all checked, but of one without an image; it is not committed.
  absl::StatusOr<state::GuestRow> NewRow(const v1::CreateGuestRequest& request, const Caller& caller);
  // Whether this kernel is here for this caller; whose permissions it is opened with, now and at every start.
  absl::StatusOr<std::optional<Credentials>> CheckKernel(const std::string& wish, const Caller& caller) const;
  // Fills in `response`, which is empty. Does not block.
  absl::Status List(const v1::ListGuestsRequest& request, v1::ListGuestsResponse* response) const;
  absl::StatusOr<v1::Guest> Update(const GuestPtr& guest, const v1::UpdateGuestRequest& request, const Caller& caller);
  absl::StatusOr<v1::Guest> Rename(const GuestPtr& guest, const std::string& new_name);
  // Called outside the line: it marks the guest, kills it first when `force`, and calls `done` when it is removed.
  void Delete(const v1::DeleteGuestRequest& request, std::function<void(absl::Status)> done);

  // -- guest_stats.cc. Reads /proc: a few files for each guest.
  absl::StatusOr<v1::ListGuestStatsResponse> ListStats(const v1::ListGuestStatsRequest& request) const;

  // -- guest_power.cc. Commit the intent and return; the operation runs in the guest's line (Kill: beside it).
  absl::StatusOr<OperationView> Start(const std::string& name, const std::string& request_id);
  absl::StatusOr<OperationView> Stop(const std::string& name, const v1::StopPolicy& policy,
                                     const std::string& request_id);
  absl::StatusOr<OperationView> Reboot(const std::string& name, const v1::StopPolicy& policy,
                                       const std::string& request_id);
  absl::StatusOr<OperationView> Kill(const std::string& name, const std::string& request_id);
  absl::StatusOr<OperationView> Reset(const v1::ResetGuestRequest& request);  // guest_reset.cc
  // In the line, as parts of another's operation. RunStart: `resumed` if an earlier umld may have done it already.
  absl::Status RunStart(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  absl::Status RunKill(const GuestPtr& guest, const state::OperationRow& operation);
  // In the line.
  absl::StatusOr<v1::Guest> Pause(const GuestPtr& guest);
  absl::StatusOr<v1::Guest> Resume(const GuestPtr& guest);
  // Finishes or undoes what an earlier daemon left unfinished; asks the facts, so every guest has been recovered.
  void ResumeOperation(const state::OperationRow& operation);
  // Commits, in the guest's line, what vmcore has finished and nobody waited for. Does not block.
  void TakeOverConfig(const GuestPtr& guest);
  // Starts those that ran when the host went down.
  void StartWanted();

  // -- guest_devices.cc. In the line.
  absl::StatusOr<v1::Device> Plug(const GuestPtr& guest, const std::string& spec, bool live_only,
                                  const std::string& request_id, const Caller& caller);
  absl::Status Unplug(const GuestPtr& guest, const std::string& device, bool live_only, const std::string& request_id);
  absl::StatusOr<v1::Device> Query(const GuestPtr& guest, const std::string& device);
  absl::StatusOr<v1::ResizeDiskResponse> ResizeDisk(const GuestPtr& guest, const v1::ResizeDiskRequest& request,
                                                    const Caller& caller);
  // "mem=-64M". A balloon is the running kernel's: the wish says nothing of it.
  absl::StatusOr<v1::Device> ChangeMemory(const GuestPtr& guest, const std::string& spec,
                                          const std::string& request_id);
  absl::StatusOr<v1::SendMconsoleResponse> SendMconsole(const GuestPtr& guest, const v1::SendMconsoleRequest& request,
                                                        const Caller& caller);

 private:
  using Body = std::function<absl::Status(const GuestPtr&, const state::OperationRow&, bool resumed)>;

  absl::StatusOr<std::vector<state::DiskRow>> NewDisks(const v1::CreateGuestRequest& request, bool has_image,
                                                       const Caller& caller);
  // What umld made is there for everybody: the modules of a kernel, read-only, and volumes; all other files as the
  // caller may.
  std::optional<Credentials> WhoOpens(const state::DiskRow& disk, const Caller& caller) const;
  absl::Status CheckDisk(const state::DiskRow& disk, const std::vector<state::DiskRow>& own, uint64_t guest_id) const;
  // Tells the guest's vmcore what its next kernel is to be started with.
  absl::Status TellConfig(const GuestPtr& guest);
  absl::Status RemoveFiles(const GuestView& view);
  absl::Status RunDelete(const GuestPtr& guest, const state::OperationRow& operation);

  absl::StatusOr<OperationView> Begin(const std::string& name, const char* verb, const std::string& payload,
                                      const std::string& request_id, bool beside_the_line, Body body);
  void Run(const GuestPtr& guest, const state::OperationRow& operation, bool beside_the_line, bool resumed, Body body);
  absl::Status RunStop(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  absl::Status RunReboot(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  absl::Status RunReset(const GuestPtr& guest, const state::OperationRow& operation, bool resumed);
  absl::Status AwaitEnd(const GuestPtr& guest, absl::Duration patience);

  // -- guest_consoles.cc
  absl::StatusOr<std::vector<state::ConsoleRow>> NewConsoles(const v1::CreateGuestRequest& request,
                                                             const Caller& caller);
  absl::StatusOr<v1::Device> PlugConsole(const GuestPtr& guest, const std::string& spec, bool live_only,
                                         const std::string& request_id, const Caller& caller);
  absl::Status UnplugConsole(const GuestPtr& guest, const std::string& device, bool live_only,
                             const std::string& request_id);
  absl::StatusOr<v1::Device> QueryConsole(const GuestPtr& guest, const std::string& device);
  absl::Status ChangeConsole(const GuestPtr& guest, const std::string& device, const std::string& channels, bool forget,
                             bool live_only, const char* verb, const std::string& request_id);
  absl::Status CommitConsole(const GuestPtr& guest, const std::string& device, const std::string& channels, bool forget,
                             bool live_only, const state::OperationRow& operation);
  void ResumeConsoleChange(const GuestPtr& guest, const state::OperationRow& operation);

  // -- guest_nics.cc
  absl::StatusOr<std::vector<state::NicRow>> NewNics(const v1::CreateGuestRequest& request, bool relaxed,
                                                     const Caller& caller);
  // Whether a guest with these can be confined.
  static absl::Status CheckNicsConfined(const std::vector<state::NicRow>& nics);
  absl::StatusOr<v1::Device> PlugNic(const GuestPtr& guest, const std::string& spec, bool live_only,
                                     const std::string& request_id, const Caller& caller);
  absl::Status UnplugNic(const GuestPtr& guest, const std::string& device, bool live_only,
                         const std::string& request_id);
  absl::StatusOr<v1::Device> QueryNic(const GuestPtr& guest, const std::string& device);
  absl::Status CommitNicPlug(const GuestPtr& guest, const state::NicRow& nic, bool live_only,
                             const state::OperationRow& operation);
  absl::Status CommitNicUnplug(const GuestPtr& guest, const std::string& device, bool live_only,
                               const state::OperationRow& operation);
  void ResumeNicChange(const GuestPtr& guest, const state::OperationRow& operation);

  // The guest when vmcore is done with what it was asked before; as it is when that takes too long. Blocks.
  GuestView Settled(const GuestPtr& guest, const state::OperationRow& operation);
  // Why an operation that an earlier daemon began has not happened, or that nobody can know.
  static absl::Status Interrupted(const GuestView& view, const state::OperationRow& operation);
  // A plug or unplug that an earlier daemon left unfinished.
  void ResumeDeviceChange(const GuestPtr& guest, const state::OperationRow& operation);

  // -- guest_memory.cc
  absl::Status CommitMemoryChange(const GuestPtr& guest, const std::string& spec, const vmcore::v1::Facts& facts,
                                  const state::OperationRow& operation);
  void ResumeMemoryChange(const GuestPtr& guest, const state::OperationRow& operation);

  // -- guest_disks.cc
  // "ubdc=modules:" in the words of the kernel that the guest has: "ubdcr=FILE"; "ubdb=volume:data": "ubdb=FILE".
  // Other specs stay as they are.
  absl::StatusOr<std::string> ExpandSpec(const std::string& spec, const absl::StatusOr<KernelChoice>& kernel) const;
  // In a disk's spec, a volume's name in the place of its file.
  void NameVolume(v1::Disk* disk) const;
  v1::Device DiskDevice(const GuestView& view, const state::DiskRow& disk, bool persistent) const;
  absl::StatusOr<v1::Device> PlugDisk(const GuestPtr& guest, const std::string& spec, bool live_only,
                                      const std::string& request_id, const Caller& caller);
  absl::Status UnplugDisk(const GuestPtr& guest, const std::string& device, bool live_only,
                          const std::string& request_id);
  absl::StatusOr<v1::Device> QueryDisk(const GuestPtr& guest, const std::string& device);
  absl::Status CommitDiskPlug(const GuestPtr& guest, const state::DiskRow& disk, bool live_only,
                              const state::OperationRow& operation);
  absl::Status CommitDiskUnplug(const GuestPtr& guest, uint32_t unit, bool live_only,
                                const state::OperationRow& operation);
  void ResumeDiskChange(const GuestPtr& guest, const state::OperationRow& operation);
  // -- guest_resize.cc
  struct Resize;
  absl::StatusOr<v1::ResizeDiskResponse> RunResize(const GuestPtr& guest, const Resize& resize,
                                                   const state::OperationRow& operation);
  v1::ResizeDiskResponse ShowResize(const GuestPtr& guest, const Resize& resize, const absl::Status& replugged) const;
  void ResumeResize(const GuestPtr& guest, const state::OperationRow& operation);
  // What an earlier call with this request id ended with; nullopt: there was none.
  std::optional<absl::Status> Repeated(const Operations::Begun& begun);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  GuestRuntime* const runtime_;
  const KernelCatalog* const catalog_;
  VolumeCatalog* const volumes_;
  WorkerPool* const pool_;
  WorkerPool* const urgent_pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_GUESTS_H_
