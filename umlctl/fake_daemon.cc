#include "umlctl/fake_daemon.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "umld/v1/services.grpc.pb.h"

namespace umld::umlctl {

struct FakeDaemon::State {
  absl::Mutex mutex;
  std::map<std::string, v1::Guest> guests;
  std::map<std::string, v1::Image> images;
  std::map<std::string, v1::Operation> operations;
  std::vector<v1::Event> events;
  std::vector<std::string> calls;
  std::vector<std::string> request_ids;
  std::string console_input;
  bool down = false;

  void Log(const std::string& call, const std::string& request_id = "") {
    absl::MutexLock lock(&mutex);
    calls.push_back(call);
    if (!request_id.empty()) request_ids.push_back(request_id);
  }
  void AddEvent(const std::string& type, const std::string& subject, v1::GuestState guest_state) {
    v1::Event event;
    event.set_sequence(events.size() + 1);
    event.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now()));
    event.set_type(type);
    event.set_subject(subject);
    event.set_state(guest_state);
    event.set_message(absl::StrCat("it is ", v1::GuestState_Name(guest_state)));
    events.push_back(event);
  }
  void Change(v1::Guest& guest, v1::GuestState to, const std::string& reason = "") {
    guest.set_state(to);
    if (to == v1::CRASHED) {
      guest.mutable_last_exit()->set_kind(v1::GuestExit::CRASHED);
      guest.mutable_last_exit()->set_reason(reason);
    }
    AddEvent(to == v1::CRASHED ? "guest.crashed" : "guest.state", guest.name(), to);
  }
  v1::Operation NewOperation(const std::string& verb, const std::string& target, bool done) {
    v1::Operation operation;
    operation.set_name(absl::StrCat("operations/", operations.size() + 1));
    operation.set_verb(verb);
    operation.set_target(target);
    operation.set_done(done);
    operations[operation.name()] = operation;
    return operation;
  }
};

namespace {

using grpc::ServerContext;
using grpc::StatusCode;

grpc::Status Error(StatusCode code, const std::string& message, const std::string& reason, const std::string& hint) {
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

grpc::Status NoGuest(const std::string& name) {
  return Error(StatusCode::NOT_FOUND, absl::StrCat("there is no guest ", name.substr(name.find('/') + 1)),
               "GUEST_NOT_FOUND", "umlctl list");
}

class GuestsService final : public v1::Guests::Service {
 public:
  explicit GuestsService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status CreateGuest(ServerContext*, const v1::CreateGuestRequest* request, v1::Guest* response) override {
    s_.Log("CreateGuest " + request->guest().name(), request->request_id());
    absl::MutexLock lock(&s_.mutex);
    v1::Guest guest = request->guest();
    if (guest.name().empty()) guest.set_name("guests/guest-random1");
    if (s_.guests.count(guest.name()) > 0) {
      return Error(StatusCode::ALREADY_EXISTS, "the name is taken", "NAME_TAKEN", "choose another");
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
    if (node.empty()) return NoGuest(request->name());
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
        return Error(StatusCode::FAILED_PRECONDITION, "it is RUNNING", "GUEST_RUNNING", "stop it first, or --force");
      }
      return grpc::Status::OK;
    });
    absl::MutexLock lock(&s_.mutex);
    if (status.ok()) s_.guests.erase(request->name());
    return status;
  }
  grpc::Status StartGuest(ServerContext*, const v1::StartGuestRequest* request, v1::Operation* response) override {
    return OnGuest("StartGuest", request->name(), request->request_id(), [&](v1::Guest& guest) {
      if (guest.state() == v1::RUNNING) {
        return Error(StatusCode::FAILED_PRECONDITION, "it is RUNNING", "WRONG_STATE", "stop it first");
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
      return Error(StatusCode::FAILED_PRECONDITION, "ubdb is open inside the guest", "DEVICE_OPEN", "umount it inside");
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
    return found == s_.guests.end() ? NoGuest(name) : act(found->second);
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

class ConsolesService final : public v1::Consoles::Service {
 public:
  explicit ConsolesService(FakeDaemon::State& state) : s_(state) {}

  // Echoes what comes; "poweroff" ends it as a guest does.
  grpc::Status AttachConsole(
      ServerContext*, grpc::ServerReaderWriter<v1::AttachConsoleResponse, v1::AttachConsoleRequest>* stream) override {
    v1::AttachConsoleRequest request;
    if (!stream->Read(&request) || !request.has_open()) return grpc::Status(StatusCode::INVALID_ARGUMENT, "no open");
    const v1::AttachConsoleRequest::Open open = request.open();
    s_.Log(absl::StrCat("AttachConsole ", open.console(), " ", open.history_bytes(), open.take_over() ? " over" : "",
                        open.read_only() ? " ro" : ""));
    {
      absl::MutexLock lock(&s_.mutex);
      const std::string guest = open.console().substr(0, open.console().find("/consoles/"));
      if (s_.guests.count(guest) == 0) return NoGuest(guest);
    }
    v1::AttachConsoleResponse response;
    response.set_output("login: ");
    response.set_writer(!open.read_only());
    stream->Write(response);
    while (stream->Read(&request)) {
      if (request.input().empty()) continue;
      response.set_output(request.input());
      {
        absl::MutexLock lock(&s_.mutex);
        s_.console_input += request.input();
      }
      stream->Write(response);
      if (absl::StrContains(request.input(), "poweroff")) return grpc::Status::OK;
    }
    return grpc::Status::OK;
  }
  grpc::Status ReadConsoleLog(ServerContext*, const v1::ReadConsoleLogRequest* request,
                              grpc::ServerWriter<v1::ReadConsoleLogResponse>* writer) override {
    s_.Log(absl::StrCat("ReadConsoleLog ", request->console(), " ", request->tail_lines()));
    v1::ReadConsoleLogResponse response;
    response.set_data("Linux version 6.1\r\n\033[3");
    writer->Write(response);
    response.set_data("1mred\n");
    writer->Write(response);
    return grpc::Status::OK;
  }

 private:
  FakeDaemon::State& s_;
};

class ImagesService final : public v1::Images::Service {
 public:
  explicit ImagesService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status ListImages(ServerContext*, const v1::ListImagesRequest*, v1::ListImagesResponse* response) override {
    absl::MutexLock lock(&s_.mutex);
    for (const auto& [name, image] : s_.images) *response->add_images() = image;
    return grpc::Status::OK;
  }
  grpc::Status GetImage(ServerContext*, const v1::GetImageRequest* request, v1::Image* response) override {
    absl::MutexLock lock(&s_.mutex);
    const auto found = s_.images.find(request->name());
    if (found == s_.images.end()) return Error(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
    *response = found->second;
    return grpc::Status::OK;
  }
  grpc::Status BuildImage(ServerContext*, const v1::BuildImageRequest* request, v1::Operation* response) override {
    absl::MutexLock lock(&s_.mutex);
    const std::string name = "images/" + (request->image_id().empty() ? request->kind() : request->image_id());
    s_.images[name].set_name(name);
    s_.images[name].set_size_bytes(8 << 20);
    *response = s_.NewOperation("build-image", name, true);
    return grpc::Status::OK;
  }
  grpc::Status DeleteImage(ServerContext*, const v1::DeleteImageRequest* request, v1::DeleteImageResponse*) override {
    absl::MutexLock lock(&s_.mutex);
    if (s_.images.erase(request->name()) > 0) return grpc::Status::OK;
    return Error(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
  }

 private:
  FakeDaemon::State& s_;
};

class OperationsService final : public v1::Operations::Service {
 public:
  explicit OperationsService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status GetOperation(ServerContext*, const v1::GetOperationRequest* request, v1::Operation* response) override {
    return Find(request->name(), response);
  }
  grpc::Status ListOperations(ServerContext*, const v1::ListOperationsRequest* request,
                              v1::ListOperationsResponse* response) override {
    absl::MutexLock lock(&s_.mutex);
    for (const auto& [name, operation] : s_.operations) {
      if (!operation.done() || !request->unfinished_only()) *response->add_operations() = operation;
    }
    return grpc::Status::OK;
  }
  grpc::Status WaitOperation(ServerContext*, const v1::WaitOperationRequest* request,
                             v1::Operation* response) override {
    s_.Log("WaitOperation " + request->name());
    const absl::Time give_up = absl::Now() + absl::Seconds(request->timeout().seconds());
    while (true) {
      const grpc::Status status = Find(request->name(), response);
      if (!status.ok() || response->done() || absl::Now() >= give_up) return status;
      absl::MutexLock lock(&s_.mutex);
      if (s_.down) return grpc::Status(StatusCode::UNAVAILABLE, "going down");
      s_.mutex.AwaitWithTimeout(absl::Condition(&s_.down), absl::Milliseconds(10));
    }
  }

 private:
  grpc::Status Find(const std::string& name, v1::Operation* response) {
    absl::MutexLock lock(&s_.mutex);
    const auto found = s_.operations.find(name);
    if (found == s_.operations.end()) return Error(StatusCode::NOT_FOUND, "no such operation", "NOT_FOUND", "");
    *response = found->second;
    return grpc::Status::OK;
  }
  FakeDaemon::State& s_;
};

class EventsService final : public v1::Events::Service {
 public:
  explicit EventsService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status Watch(ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    s_.Log(absl::StrCat("Watch ", request->subject(), " [", request->resume_token(), "]"));
    uint64_t next = 0;
    if (request->resume_token().empty()) {
      v1::WatchResponse response;
      {
        absl::MutexLock lock(&s_.mutex);
        next = s_.events.size();
        for (const auto& [name, guest] : s_.guests) {
          if (!request->skip_snapshot() && IsAbout(name, *request)) *response.add_snapshot() = guest;
        }
      }
      response.set_snapshot_done(true);
      response.set_resume_token(absl::StrCat(next));
      writer->Write(response);
    } else if (!absl::SimpleAtoi(request->resume_token(), &next)) {
      return grpc::Status(StatusCode::INVALID_ARGUMENT, "token");
    }
    while (!context->IsCancelled()) {
      v1::WatchResponse response;
      {
        absl::MutexLock lock(&s_.mutex);
        if (s_.down) return grpc::Status(StatusCode::UNAVAILABLE, "going down");
        if (next < s_.events.size()) {
          *response.mutable_event() = s_.events[next++];
          response.set_resume_token(absl::StrCat(next));
        } else {
          s_.mutex.AwaitWithTimeout(absl::Condition(&s_.down), absl::Milliseconds(10));
        }
      }
      if (response.has_event() && IsAbout(response.event().subject(), *request)) writer->Write(response);
    }
    return grpc::Status::CANCELLED;
  }

 private:
  static bool IsAbout(const std::string& subject, const v1::WatchRequest& request) {
    return request.subject().empty() || subject == request.subject();
  }
  FakeDaemon::State& s_;
};

class HostService final : public v1::Host::Service {
 public:
  explicit HostService(FakeDaemon::State& state) : s_(state) {}

  grpc::Status GetHost(ServerContext*, const v1::GetHostRequest*, v1::HostInfo* response) override {
    response->set_version("9.9.9");
    for (const char* name : {"kernel", "user namespaces"}) {
      v1::HostCheck& check = *response->add_checks();
      check.set_name(name);
      check.set_ok(std::string(name) == "kernel");
      check.set_detail("detail");
      check.set_remedy("remedy");
    }
    return grpc::Status::OK;
  }
  grpc::Status CreateDiskFile(ServerContext*, const v1::CreateDiskFileRequest* request,
                              v1::DiskFile* response) override {
    s_.Log(absl::StrCat("CreateDiskFile ", request->path(), " ", request->size_bytes()));
    response->set_path(request->path());
    return grpc::Status::OK;
  }

 private:
  FakeDaemon::State& s_;
};

}  // namespace

class FakeDaemon::Services {
 public:
  Services(State& state, const std::string& socket_path)
      : guests_(state), consoles_(state), images_(state), operations_(state), events_(state), host_(state) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket_path, grpc::InsecureServerCredentials());
    for (grpc::Service* service :
         std::initializer_list<grpc::Service*>{&guests_, &consoles_, &images_, &operations_, &events_, &host_}) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
  }
  ~Services() { server_->Shutdown(std::chrono::system_clock::now()); }
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

 private:
  GuestsService guests_;
  ConsolesService consoles_;
  ImagesService images_;
  OperationsService operations_;
  EventsService events_;
  HostService host_;
  std::unique_ptr<grpc::Server> server_;
};

FakeDaemon::FakeDaemon(std::string socket_path)
    : socket_path_(std::move(socket_path)), state_(std::make_unique<State>()) {
  Up();
}

FakeDaemon::~FakeDaemon() { Down(); }

void FakeDaemon::Down() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->down = true;
  }
  services_.reset();
}

void FakeDaemon::Up() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->down = false;
  }
  services_ = std::make_unique<Services>(*state_, socket_path_);
}

void FakeDaemon::AddGuest(const std::string& name, v1::GuestState state) {
  absl::MutexLock lock(&state_->mutex);
  v1::Guest& guest = state_->guests["guests/" + name];
  guest.set_name("guests/" + name);
  guest.set_state(state);
  guest.set_id(state_->guests.size());
  guest.set_memory_bytes(64 << 20);
}

v1::Guest FakeDaemon::guest(const std::string& name) {
  absl::MutexLock lock(&state_->mutex);
  return state_->guests["guests/" + name];
}

void FakeDaemon::SetState(const std::string& name, v1::GuestState state, const std::string& reason) {
  absl::MutexLock lock(&state_->mutex);
  state_->Change(state_->guests["guests/" + name], state, reason);
}

void FakeDaemon::Finish() {
  absl::MutexLock lock(&state_->mutex);
  for (auto& [name, operation] : state_->operations) {
    if (!operation.done()) state_->Change(state_->guests[operation.target()], v1::RUNNING);
    operation.set_done(true);
  }
}

std::vector<std::string> FakeDaemon::calls() {
  absl::MutexLock lock(&state_->mutex);
  return state_->calls;
}

std::vector<std::string> FakeDaemon::request_ids() {
  absl::MutexLock lock(&state_->mutex);
  return state_->request_ids;
}

std::string FakeDaemon::console_input() {
  absl::MutexLock lock(&state_->mutex);
  return state_->console_input;
}

}  // namespace umld::umlctl
