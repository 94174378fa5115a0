#include "umlctl/fake_daemon.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "umlctl/fake_guests.h"
#include "umlctl/fake_state.h"
#include "umld/v1/images.grpc.pb.h"
#include "umld/v1/services.grpc.pb.h"

namespace umld::umlctl {
namespace {

using grpc::ServerContext;
using grpc::StatusCode;

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
      if (s_.guests.count(guest) == 0) return FakeNoGuest(guest);
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
    std::string log;
    bool stay = false;
    {
      absl::MutexLock lock(&s_.mutex);
      log = s_.log;
      stay = request->follow() && !s_.was_down;
    }
    size_t position = 0;
    [[maybe_unused]] const bool given = absl::SimpleAtoi(request->after(), &position);
    const bool gap = position > log.size();
    if (gap) position = 0;
    log.erase(0, position);
    // Only now: whoever waits for this call may take the daemon down as soon as it is there.
    s_.Log(absl::StrCat("ReadConsoleLog ", request->console(), " ", request->tail_lines(),
                        request->follow() ? " follow" : ""));
    // In pieces, of which the first ends within the colour's escape.
    for (const std::string& piece : {log.substr(0, 22), log.substr(std::min<size_t>(22, log.size()))}) {
      v1::ReadConsoleLogResponse response;
      position += piece.size();
      response.set_data(piece);
      response.set_position(absl::StrCat(position));
      response.set_gap(gap && position == piece.size());
      if (!piece.empty()) writer->Write(response);
    }
    if (stay) {
      absl::MutexLock lock(&s_.mutex);
      s_.mutex.Await(absl::Condition(&s_.down));
      return grpc::Status(StatusCode::UNAVAILABLE, "going down");
    }
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
    if (found == s_.images.end()) return FakeError(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
    *response = found->second;
    return grpc::Status::OK;
  }
  grpc::Status BuildImage(ServerContext*, const v1::BuildImageRequest* request, v1::Operation* response) override {
    absl::MutexLock lock(&s_.mutex);
    const std::string name = "images/" + (request->image_id().empty() ? request->kind() : request->image_id());
    s_.images[name].set_name(name);
    s_.images[name].set_size_bytes(8 << 20);
    s_.images[name].set_digest("sha256:00112233445566778899");
    if (s_.images[name].aliases().empty()) s_.images[name].add_aliases(name.substr(name.find('/') + 1));
    *response = s_.NewOperation("build-image", name, true);
    return grpc::Status::OK;
  }
  grpc::Status TagImage(ServerContext*, const v1::TagImageRequest* request, v1::Image* response) override {
    absl::MutexLock lock(&s_.mutex);
    const auto found = s_.images.find(request->name());
    if (found == s_.images.end()) return FakeError(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
    *response = found->second;
    response->set_name("images/" + request->image_id());
    s_.images[response->name()] = *response;
    return grpc::Status::OK;
  }
  grpc::Status VerifyImage(ServerContext*, const v1::VerifyImageRequest* request, v1::Operation* response) override {
    absl::MutexLock lock(&s_.mutex);
    if (s_.images.count(request->name()) == 0) {
      return FakeError(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
    }
    *response = s_.NewOperation("verify-image", request->name(), true);
    return grpc::Status::OK;
  }
  grpc::Status PruneImages(ServerContext*, const v1::PruneImagesRequest*, v1::PruneImagesResponse* response) override {
    response->add_images()->set_name("images/sha256:0123456789abcdef");
    response->set_freed_bytes(5 << 20);
    return grpc::Status::OK;
  }
  grpc::Status DeleteImage(ServerContext*, const v1::DeleteImageRequest* request, v1::DeleteImageResponse*) override {
    absl::MutexLock lock(&s_.mutex);
    if (s_.images.erase(request->name()) > 0) return grpc::Status::OK;
    return FakeError(StatusCode::NOT_FOUND, "no such image", "IMAGE_NOT_FOUND", "");
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
      grpc::Status status = Find(request->name(), response);
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
    if (found == s_.operations.end()) return FakeError(StatusCode::NOT_FOUND, "no such operation", "NOT_FOUND", "");
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
      : guests_(MakeFakeGuests(state)),
        consoles_(state),
        images_(state),
        operations_(state),
        events_(state),
        host_(state) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket_path, grpc::InsecureServerCredentials());
    for (grpc::Service* service :
         std::initializer_list<grpc::Service*>{guests_.get(), &consoles_, &images_, &operations_, &events_, &host_}) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
  }
  ~Services() { server_->Shutdown(std::chrono::system_clock::now()); }
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

 private:
  std::unique_ptr<v1::Guests::Service> guests_;
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
    state_->was_down = true;
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

void FakeDaemon::SetLog(const std::string& text) {
  absl::MutexLock lock(&state_->mutex);
  state_->log = text;
}

std::string FakeDaemon::console_input() {
  absl::MutexLock lock(&state_->mutex);
  return state_->console_input;
}

}  // namespace umld::umlctl
