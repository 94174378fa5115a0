#include "umlctl/fake_guests.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/call_warnings.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "umlctl/fake_state.h"

namespace umld::umlctl {

grpc::Status FakeError(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::string& hint) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("umld");
  (*info.mutable_metadata())["hint"] = hint;
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  details.add_details()->PackFrom(info);
  return grpc::Status(code, message, details.SerializeAsString());
}

grpc::Status FakeNoGuest(const std::string& name) {
  return FakeError(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no guest ", name.substr(name.find('/') + 1)),
                   "GUEST_NOT_FOUND", "umlctl list");
}

namespace {

using grpc::ServerContext;
using grpc::StatusCode;

class GuestsService final : public v1::Guests::Service {
 public:
  explicit GuestsService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status CreateGuest(ServerContext*, const v1::CreateGuestRequest* request, v1::Guest* response) override {
    s_.Log("CreateGuest " + request->guest().name(), request->request_id());
    absl::MutexLock lock(&s_.mutex);
    v1::Guest guest = request->guest();
    if (guest.name().empty()) guest.set_name("guests/guest-random1");
    if (s_.guests.count(guest.name()) > 0) {
      return FakeError(StatusCode::ALREADY_EXISTS, "the name is taken", "NAME_TAKEN", "choose another");
    }
    for (const std::string& spec : request->disk_specs()) {
      v1::Disk& disk = *guest.add_disks();
      disk.set_name(absl::StrCat(guest.name(), "/disks/", spec.substr(0, spec.find('='))));
      disk.set_spec(spec);
    }
    guest.set_state(v1::STOPPED);
    guest.set_id(s_.guests.size() + 1);
    s_.guests[guest.name()] = guest;
    s_.AddEvent("guest.created", guest.name(), v1::STOPPED);
    *response = guest;
    return grpc::Status::OK;
  }
  grpc::Status GetGuest(ServerContext*, const v1::GetGuestRequest* request, v1::Guest* response) override {
    return OnGuest("GetGuest", request->name(), "", [response](v1::Guest& guest) {
      *response = guest;
      return grpc::Status::OK;
    });
  }
  // Two a page, whatever was asked for.
  grpc::Status ListGuests(ServerContext*, const v1::ListGuestsRequest* request,
                          v1::ListGuestsResponse* response) override {
    absl::MutexLock lock(&s_.mutex);
    for (auto at = s_.guests.upper_bound(request->page_token()); at != s_.guests.end(); ++at) {
      if (response->guests_size() == 2) {
        response->set_next_page_token(response->guests(1).name());
        break;
      }
      *response->add_guests() = at->second;
    }
    return grpc::Status::OK;
  }
  grpc::Status UpdateGuest(ServerContext*, const v1::UpdateGuestRequest* request, v1::Guest* response) override {
    return OnGuest("UpdateGuest", request->guest().name(), request->request_id(), [&](v1::Guest& guest) {
      for (const std::string& path : request->update_mask().paths()) {
        if (path == "memory_bytes") guest.set_memory_bytes(request->guest().memory_bytes());
        if (path == "description") guest.set_description(request->guest().description());
        if (path == "kernel") guest.set_kernel(request->guest().kernel());
        if (path == "kernel_args") *guest.mutable_kernel_args() = request->guest().kernel_args();
      }
      *response = guest;
      return grpc::Status::OK;
    });
  }
  grpc::Status RenameGuest(ServerContext*, const v1::RenameGuestRequest* request, v1::Guest* response) override {
    absl::MutexLock lock(&s_.mutex);
    auto node = s_.guests.extract(request->name());
    if (node.empty()) return FakeNoGuest(request->name());
    node.key() = request->new_name();
    node.mapped().set_name(request->new_name());
    *response = node.mapped();
    s_.guests.insert(std::move(node));
    s_.AddEvent("guest.renamed", request->name(), response->state());
    return grpc::Status::OK;
  }
  grpc::Status DeleteGuest(ServerContext*, const v1::DeleteGuestRequest* request, v1::DeleteGuestResponse*) override {
    grpc::Status status = OnGuest("DeleteGuest", request->name(), "", [&](const v1::Guest& guest) {
      if (guest.state() == v1::RUNNING && !request->force()) {
        return FakeError(StatusCode::FAILED_PRECONDITION, "it is RUNNING", "GUEST_RUNNING",
                         "stop it first, or --force");
      }
      return grpc::Status::OK;
    });
    absl::MutexLock lock(&s_.mutex);
    if (status.ok()) s_.guests.erase(request->name());
    return status;
  }
  grpc::Status StartGuest(ServerContext* context, const v1::StartGuestRequest* request,
                          v1::Operation* response) override {
    if (absl::StrContains(request->name(), "risk"))
      context->AddTrailingMetadata(kWarningMetadata, "ubdb: AT RISK: why");
    return OnGuest("StartGuest", request->name(), request->request_id(), [&](v1::Guest& guest) {
      if (guest.state() == v1::RUNNING) {
        return FakeError(StatusCode::FAILED_PRECONDITION, "it is RUNNING", "WRONG_STATE", "stop it first");
      }
      const bool crashes = absl::StrContains(guest.name(), "crash");
      const bool slow = absl::StrContains(guest.name(), "slow");
      *response = s_.NewOperation("start", guest.name(), !slow);
      s_.Change(guest, slow ? v1::STARTING : crashes ? v1::CRASHED : v1::RUNNING, "no root filesystem");
      if (crashes) {
        v1::OperationError& error = *response->mutable_error();
        error.set_code(StatusCode::ABORTED);
        error.set_message("it crashed: no root filesystem");
        error.set_reason("GUEST_CRASHED");
        error.set_hint("umlctl logs");
      }
      return grpc::Status::OK;
    });
  }
  grpc::Status StopGuest(ServerContext*, const v1::StopGuestRequest* request, v1::Operation* response) override {
    const std::string how = absl::StrCat("StopGuest", request->policy().now() ? " now" : "", " ",
                                         request->policy().timeout().seconds(), "s");
    return End(how, request->name(), request->request_id(), v1::STOPPED, response);
  }
  grpc::Status RebootGuest(ServerContext*, const v1::RebootGuestRequest* request, v1::Operation* response) override {
    return End("RebootGuest", request->name(), request->request_id(), v1::RUNNING, response);
  }
  grpc::Status ResetGuest(ServerContext*, const v1::ResetGuestRequest* request, v1::Operation* response) override {
    return End(absl::StrCat("ResetGuest", request->force() ? " force" : ""), request->name(), request->request_id(),
               v1::RUNNING, response);
  }
  grpc::Status KillGuest(ServerContext*, const v1::KillGuestRequest* request, v1::Operation* response) override {
    return End("KillGuest", request->name(), request->request_id(), v1::STOPPED, response);
  }
  grpc::Status PauseGuest(ServerContext*, const v1::PauseGuestRequest* request, v1::Guest* response) override {
    return OnGuest("PauseGuest", request->name(), "", [&](v1::Guest& guest) {
      s_.Change(guest, v1::PAUSED);
      *response = guest;
      return grpc::Status::OK;
    });
  }
  grpc::Status ResumeGuest(ServerContext*, const v1::ResumeGuestRequest* request, v1::Guest* response) override {
    return OnGuest("ResumeGuest", request->name(), "", [&](v1::Guest& guest) {
      s_.Change(guest, v1::RUNNING);
      *response = guest;
      return grpc::Status::OK;
    });
  }
  grpc::Status PlugDevice(ServerContext*, const v1::PlugDeviceRequest* request, v1::Device* response) override {
    return OnGuest(absl::StrCat("PlugDevice ", request->spec(), request->live_only() ? " live" : ""), request->guest(),
                   request->request_id(), [&](const v1::Guest& guest) {
                     const size_t equals = request->spec().find('=');
                     response->set_name(absl::StrCat(guest.name(), "/disks/", request->spec().substr(0, equals)));
                     response->set_spec(request->spec().substr(equals + 1));
                     return grpc::Status::OK;
                   });
  }
  grpc::Status UnplugDevice(ServerContext*, const v1::UnplugDeviceRequest* request,
                            v1::UnplugDeviceResponse*) override {
    return OnGuest("UnplugDevice " + request->device(), request->guest(), request->request_id(), [](const v1::Guest&) {
      return FakeError(StatusCode::FAILED_PRECONDITION, "ubdb is open inside the guest", "DEVICE_OPEN",
                       "umount it inside");
    });
  }
  grpc::Status QueryDevice(ServerContext*, const v1::QueryDeviceRequest* request, v1::Device* response) override {
    return OnGuest("QueryDevice", request->guest(), "", [&](const v1::Guest&) {
      if (request->device() == "ubdb") response->set_spec("/srv/x.cow,/srv/base.img");
      return grpc::Status::OK;
    });
  }
  grpc::Status SendMconsole(ServerContext*, const v1::SendMconsoleRequest* request,
                            v1::SendMconsoleResponse* response) override {
    return OnGuest("SendMconsole " + request->command(), request->guest(), "", [&](const v1::Guest&) {
      response->set_err(request->command() == "bad" ? 1 : 0);
      response->set_text(request->command() == "bad" ? "Unknown command" : "OK " + request->command());
      return grpc::Status::OK;
    });
  }

 private:
  template <typename Act>
  grpc::Status OnGuest(const std::string& call, const std::string& name, const std::string& request_id, Act act) {
    s_.Log(absl::StrCat(call, " ", name), request_id);
    absl::MutexLock lock(&s_.mutex);
    const auto found = s_.guests.find(name);
    return found == s_.guests.end() ? FakeNoGuest(name) : act(found->second);
  }
  grpc::Status End(const std::string& call, const std::string& name, const std::string& request_id, v1::GuestState to,
                   v1::Operation* response) {
    return OnGuest(call, name, request_id, [&](v1::Guest& guest) {
      *response = s_.NewOperation(call, name, true);
      s_.Change(guest, to);
      return grpc::Status::OK;
    });
  }

  FakeDaemon::State& s_;
};

}  // namespace

std::unique_ptr<v1::Guests::Service> MakeFakeGuests(FakeDaemon::State& state) {
  return std::make_unique<GuestsService>(state);
}

}  // namespace umld::umlctl
