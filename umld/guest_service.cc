#include "umld/guest_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/call_warnings.h"
#include "base/status.h"
#include "kernel/host_memory.h"
#include "umld/disk_details.h"
#include "umld/grpc_status.h"
#include "umld/nic_counters.h"
#include "umld/operation_service.h"

namespace umld {

using Reactor = GuestService::Reactor;

template <typename Response, typename Work>
Reactor* GuestService::InLine(Context* context, const std::string& name, Response* response, Work work) {
  Reactor* reactor = context->DefaultReactor();
  guests_->InLine(name, [=](absl::StatusOr<GuestPtr> guest) {
    if (!guest.ok()) return reactor->Finish(ToGrpc(guest.status()));
    Finish<Response>(reactor, response, work(*guest));
  });
  return reactor;
}

template <typename Response, typename Work>
Reactor* GuestService::InLineFor(Context* context, const std::string& name, Response* response, Work work) {
  absl::StatusOr<Caller> caller = CallerOf(*context);
  if (!caller.ok()) return Answer<Response>(context, response, caller.status());
  return InLine(context, name, response, [=](const GuestPtr& guest) { return work(guest, *caller); });
}

Reactor* GuestService::CreateGuest(Context* context, const v1::CreateGuestRequest* request, v1::Guest* response) {
  return AnswerOnPool<v1::Guest>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Guest> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(v1::Guest created, guests_->Create(*request, caller));
    if (const absl::StatusOr<GuestPtr> guest = table_->Find(created.name()); guest.ok()) {
      WarnOfDisks(context, *guest, "");
    }
    return created;
  });
}

void GuestService::WarnOfDisks(Context* context, const GuestPtr& guest, const std::string& disk_name) {
  const GuestView view = table_->View(guest);
  v1::Guest shown = guests_->Show(view);
  for (v1::Disk& disk : *shown.mutable_disks()) {
    if (disk.backing().empty() || (!disk_name.empty() && disk.name() != disk_name)) continue;
    AddDiskDetails(OpenerOf(view, disk.name()), shown, &disk);
    if (disk.risk().empty()) continue;
    const std::string device = disk.name().substr(disk.name().rfind('/') + 1);
    context->AddTrailingMetadata(kWarningMetadata, absl::StrCat(device, ": ", disk.risk()));
  }
}

Reactor* GuestService::GetGuest(Context* context, const v1::GetGuestRequest* request, v1::Guest* response) {
  return AnswerOnPool<v1::Guest>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Guest> {
    ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(request->name()));
    v1::Guest shown = guests_->Show(guest);
    const GuestView view = table_->View(guest);
    const vmcore::v1::ProcessId kernel = view.facts.kernel();
    shown.set_host_memory_bytes(kernel::HostMemoryOf({kernel.pid(), kernel.start_ticks()}));
    for (v1::Disk& disk : *shown.mutable_disks()) AddDiskDetails(OpenerOf(view, disk.name()), shown, &disk);
    FillNicCounters(view, &shown);
    return shown;
  });
}

Reactor* GuestService::ListGuests(Context* context, const v1::ListGuestsRequest* request,
                                  v1::ListGuestsResponse* response) {
  Reactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(guests_->List(*request, response)));
  return reactor;
}

Reactor* GuestService::ListGuestStats(Context* context, const v1::ListGuestStatsRequest* request,
                                      v1::ListGuestStatsResponse* response) {
  return AnswerOnPool<v1::ListGuestStatsResponse>(context, pool_, response,
                                                  [=, this] { return guests_->ListStats(*request); });
}

Reactor* GuestService::UpdateGuest(Context* context, const v1::UpdateGuestRequest* request, v1::Guest* response) {
  return InLineFor(context, request->guest().name(), response, [=, this](const GuestPtr& guest, const Caller& caller) {
    return guests_->Update(guest, *request, caller);
  });
}

Reactor* GuestService::RenameGuest(Context* context, const v1::RenameGuestRequest* request, v1::Guest* response) {
  return InLine(context, request->name(), response,
                [=, this](const GuestPtr& guest) { return guests_->Rename(guest, request->new_name()); });
}

Reactor* GuestService::DeleteGuest(Context* context, const v1::DeleteGuestRequest* request, v1::DeleteGuestResponse*) {
  Reactor* reactor = context->DefaultReactor();
  guests_->Delete(*request, [reactor](const absl::Status& status) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

namespace {

// The answer to a verb that has become an operation.
absl::StatusOr<v1::Operation> Shown(const absl::StatusOr<OperationView>& operation) {
  if (!operation.ok()) return operation.status();
  return ToProto(*operation);
}

}  // namespace

Reactor* GuestService::StartGuest(Context* context, const v1::StartGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const OperationView operation, guests_->Start(request->name(), request->request_id()));
    // It is on its way already.
    if (const absl::StatusOr<GuestPtr> guest = table_->Find(request->name()); guest.ok()) {
      WarnOfDisks(context, *guest, "");
    }
    return ToProto(operation);
  });
}

Reactor* GuestService::StopGuest(Context* context, const v1::StopGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] {
    return Shown(guests_->Stop(request->name(), request->policy(), request->request_id()));
  });
}

Reactor* GuestService::RebootGuest(Context* context, const v1::RebootGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] {
    return Shown(guests_->Reboot(request->name(), request->policy(), request->request_id()));
  });
}

Reactor* GuestService::ResetGuest(Context* context, const v1::ResetGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(guests_->Reset(*request)); });
}

Reactor* GuestService::KillGuest(Context* context, const v1::KillGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(
      context, pool_, response, [=, this] { return Shown(guests_->Kill(request->name(), request->request_id())); });
}

Reactor* GuestService::PauseGuest(Context* context, const v1::PauseGuestRequest* request, v1::Guest* response) {
  return InLine(context, request->name(), response, [this](const GuestPtr& guest) { return guests_->Pause(guest); });
}

Reactor* GuestService::ResumeGuest(Context* context, const v1::ResumeGuestRequest* request, v1::Guest* response) {
  return InLine(context, request->name(), response, [this](const GuestPtr& guest) { return guests_->Resume(guest); });
}

Reactor* GuestService::PlugDevice(Context* context, const v1::PlugDeviceRequest* request, v1::Device* response) {
  return InLineFor(context, request->guest(), response, [=, this](const GuestPtr& guest, const Caller& caller) {
    absl::StatusOr<v1::Device> device =
        guests_->Plug(guest, request->spec(), request->live_only(), request->request_id(), caller);
    if (device.ok() && !device->disk().backing().empty()) WarnOfDisks(context, guest, device->name());
    return device;
  });
}

Reactor* GuestService::UnplugDevice(Context* context, const v1::UnplugDeviceRequest* request,
                                    v1::UnplugDeviceResponse* response) {
  return InLine(context, request->guest(), response,
                [=, this](const GuestPtr& guest) -> absl::StatusOr<v1::UnplugDeviceResponse> {
                  absl::Status status =
                      guests_->Unplug(guest, request->device(), request->live_only(), request->request_id());
                  if (!status.ok()) return status;
                  return v1::UnplugDeviceResponse();
                });
}

Reactor* GuestService::ResizeDisk(Context* context, const v1::ResizeDiskRequest* request,
                                  v1::ResizeDiskResponse* response) {
  return InLineFor(context, request->guest(), response, [=, this](const GuestPtr& guest, const Caller& caller) {
    return guests_->ResizeDisk(guest, *request, caller);
  });
}

Reactor* GuestService::QueryDevice(Context* context, const v1::QueryDeviceRequest* request, v1::Device* response) {
  return InLine(context, request->guest(), response,
                [=, this](const GuestPtr& guest) { return guests_->Query(guest, request->device()); });
}

Reactor* GuestService::SendMconsole(Context* context, const v1::SendMconsoleRequest* request,
                                    v1::SendMconsoleResponse* response) {
  return InLineFor(context, request->guest(), response, [=, this](const GuestPtr& guest, const Caller& caller) {
    return guests_->SendMconsole(guest, *request, caller);
  });
}

}  // namespace umld
