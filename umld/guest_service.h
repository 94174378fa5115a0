#ifndef UMLD_UMLD_GUEST_SERVICE_H_
#define UMLD_UMLD_GUEST_SERVICE_H_

#include "umld/arena_messages.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Guests; see services.proto for what each call means.
class GuestService final : public v1::Guests::CallbackService {
 public:
  GuestService(Guests* guests, GuestTable* table, WorkerPool* pool) : guests_(guests), table_(table), pool_(pool) {
    SetMessageAllocatorFor_ListGuests(&lists_);
  }

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* CreateGuest(Context*, const v1::CreateGuestRequest*, v1::Guest*) override;
  Reactor* GetGuest(Context*, const v1::GetGuestRequest*, v1::Guest*) override;
  Reactor* ListGuests(Context*, const v1::ListGuestsRequest*, v1::ListGuestsResponse*) override;
  Reactor* ListGuestStats(Context*, const v1::ListGuestStatsRequest*, v1::ListGuestStatsResponse*) override;
  Reactor* UpdateGuest(Context*, const v1::UpdateGuestRequest*, v1::Guest*) override;
  Reactor* RenameGuest(Context*, const v1::RenameGuestRequest*, v1::Guest*) override;
  Reactor* DeleteGuest(Context*, const v1::DeleteGuestRequest*, v1::DeleteGuestResponse*) override;
  Reactor* StartGuest(Context*, const v1::StartGuestRequest*, v1::Operation*) override;
  Reactor* StopGuest(Context*, const v1::StopGuestRequest*, v1::Operation*) override;
  Reactor* RebootGuest(Context*, const v1::RebootGuestRequest*, v1::Operation*) override;
  Reactor* ResetGuest(Context*, const v1::ResetGuestRequest*, v1::Operation*) override;
  Reactor* KillGuest(Context*, const v1::KillGuestRequest*, v1::Operation*) override;
  Reactor* PauseGuest(Context*, const v1::PauseGuestRequest*, v1::Guest*) override;
  Reactor* ResumeGuest(Context*, const v1::ResumeGuestRequest*, v1::Guest*) override;
  Reactor* PlugDevice(Context*, const v1::PlugDeviceRequest*, v1::Device*) override;
  Reactor* UnplugDevice(Context*, const v1::UnplugDeviceRequest*, v1::UnplugDeviceResponse*) override;
  Reactor* ResizeDisk(Context*, const v1::ResizeDiskRequest*, v1::ResizeDiskResponse*) override;
  Reactor* QueryDevice(Context*, const v1::QueryDeviceRequest*, v1::Device*) override;
  Reactor* SendMconsole(Context*, const v1::SendMconsoleRequest*, v1::SendMconsoleResponse*) override;

 private:
  // Answers by work in the line of the guest named.
  template <typename Response, typename Work>
  Reactor* InLine(Context* context, const std::string& name, Response* response, Work work);
  // The same, and the work is told who asks.
  template <typename Response, typename Work>
  Reactor* InLineFor(Context* context, const std::string& name, Response* response, Work work);
  // Sends beside the answer what the caller should know of the guest's COW disks, or of the one that is named. Costs
  // nothing where there are none. Blocks on the disk.
  void WarnOfDisks(Context* context, const GuestPtr& guest, const std::string& disk_name);

  Guests* const guests_;
  GuestTable* const table_;
  WorkerPool* const pool_;
  ArenaMessages<v1::ListGuestsRequest, v1::ListGuestsResponse> lists_;
};

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_SERVICE_H_
