#include "vmcore/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "vmcore/log.h"
#include "vmcore/protocol.h"

namespace umld::vmcore {
namespace {

constexpr std::chrono::milliseconds kLeaveAtMost(1000);
constexpr std::chrono::milliseconds kAcceptPause(1000);
constexpr int32_t kMaxMconsoleText = 60 * 1024;  // what fits into a packet

absl::Status Unknown() {
  return MakeError(absl::StatusCode::kUnimplemented, "this vmcore does not know the request",
                   {"OLD_VMCORE", "", "it is older than umld; restart the guest to have a new one"});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(EventLoop* loop, const std::string& path,
                                                       UniqueFd first_connection) {
  ASSIGN_OR_RETURN(UniqueFd listener, ListenPackets(path));
  std::unique_ptr<Server> server(new Server(loop, std::move(listener)));
  if (first_connection.ok()) {
    server->launcher_ = server->next_client_;
    server->Serve(std::move(first_connection));
  }
  return server;
}

Server::Server(EventLoop* loop, UniqueFd listener) : loop_(loop), listener_(std::move(listener)) {
  loop_->Watch(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
}

Server::~Server() {
  loop_->Unwatch(listener_.get());
  loop_->Cancel(leave_timer_);
}

void Server::Accept() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.ok()) return Serve(std::move(fd));
  if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
  // Out of descriptors or memory: the connection stays in the queue, so do not spin on it.
  Log(absl::StrCat("accept: ", strerror(errno)));
  loop_->SetEvents(listener_.get(), 0);
  loop_->RunAfter(kAcceptPause, [this] { loop_->SetEvents(listener_.get(), EPOLLIN); });
}

void Server::Serve(UniqueFd fd) {
  ClientId id = next_client_++;
  Connection::Callbacks callbacks;
  callbacks.frame = [this, id](const v1::Frame& frame) { OnFrame(id, frame); };
  callbacks.closed = [this, id] { Disconnect(id); };
  callbacks.writable = [this, id] {
    auto found = clients_.find(id);
    if (found != clients_.end() && found->second.console != nullptr) {
      found->second.console->Writable(found->second.viewer);
    }
    LeaveWhenFlushed();
  };
  clients_[id].connection = Connection::Create(loop_, std::move(fd), std::move(callbacks));
}

void Server::Disconnect(ClientId id) {
  auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client client = std::move(found->second);
  clients_.erase(found);
  client.connection->Close();
  if (id == launcher_ && guest_ != nullptr && !leaving_) guest_->OnLauncherGone();
  if (client.console != nullptr) {
    client.console->Detach(client.viewer);
    if (guest_ != nullptr && !leaving_) guest_->OnViewersChanged();
  }
  LeaveWhenFlushed();
}

void Server::OnFrame(ClientId id, const v1::Frame& frame) {
  Client& client = clients_[id];
  if (frame.has_console() && client.console != nullptr) return client.console->Receive(client.viewer, frame.console());
  if (!frame.has_request()) return;  // of a newer umld, and not for us
  if (!client.greeted && !frame.request().has_hello()) {
    return Reply(id, frame.id(),
                 MakeError(absl::StatusCode::kFailedPrecondition, "the first request on a connection is Hello",
                           {"NO_HELLO", "", ""}),
                 {});
  }
  client.greeted = true;
  if (guest_ == nullptr || leaving_) {
    return Reply(id, frame.id(), absl::UnavailableError("the guest has ended"), {});
  }
  OnRequest(id, frame.id(), frame.request());
}

void Server::OnRequest(ClientId id, uint64_t request_id, const v1::Request& request) {
  // The guest's answer may come after the client has gone: Reply knows.
  auto with_facts = [this, id, request_id](const absl::Status& status) { ReplyWithFacts(id, request_id, status); };
  auto plain = [this, id, request_id](const absl::Status& status) { Reply(id, request_id, status, {}); };
  switch (request.kind_case()) {
    case v1::Request::kHello:
    case v1::Request::kGetFacts:
      return with_facts(absl::OkStatus());
    case v1::Request::kSubscribe:
      return Subscribe(id, request_id);
    case v1::Request::kClaim:
      return guest_->Claim(request.claim(), with_facts);
    case v1::Request::kStop:
      return plain(guest_->Stop(request.stop()));
    case v1::Request::kReboot:
      return plain(guest_->Reboot(request.reboot()));
    case v1::Request::kKill:
      return plain(guest_->Kill());
    case v1::Request::kChangeMemory:
      return guest_->ChangeMemory(request.change_memory(), with_facts);
    case v1::Request::kReclaimMemory:
      return guest_->ReclaimMemory(request.reclaim_memory(), with_facts);
    case v1::Request::kSettle:
      return guest_->Settle([with_facts] { with_facts(absl::OkStatus()); });
    case v1::Request::kPause:
      return guest_->Pause(with_facts);
    case v1::Request::kResume:
      return guest_->Resume(with_facts);
    case v1::Request::kPlugDisk:
      return guest_->PlugDisk(request.plug_disk(), with_facts);
    case v1::Request::kUnplugDisk:
      return guest_->UnplugDisk(request.unplug_disk(), with_facts);
    case v1::Request::kReplugDisk:
      return guest_->ReplugDisk(request.replug_disk(), with_facts);
    case v1::Request::kSetConsole:
      return guest_->SetConsole(request.set_console(), with_facts);
    case v1::Request::kPlugNic:
      return guest_->PlugNic(request.plug_nic(), with_facts);
    case v1::Request::kUnplugNic:
      return guest_->UnplugNic(request.unplug_nic(), with_facts);
    case v1::Request::kSetConfig:
      return with_facts(guest_->SetConfig(request.set_config().config()));
    case v1::Request::kMconsole:
      return guest_->Mconsole(request.mconsole(), [this, id, request_id](const absl::StatusOr<MconsoleAnswer>& answer) {
        v1::Reply reply;
        if (answer.ok()) {
          reply.mutable_mconsole()->set_err(answer->error);
          reply.mutable_mconsole()->set_text(answer->text.substr(0, kMaxMconsoleText));
        }
        Reply(id, request_id, answer.status(), std::move(reply));
      });
    case v1::Request::kAttachConsole:
      return Attach(id, request_id, request.attach_console());
    case v1::Request::KIND_NOT_SET:
      break;
  }
  plain(Unknown());
}

void Server::Subscribe(ClientId id, uint64_t request_id) {
  ReplyWithFacts(id, request_id, absl::OkStatus());
  clients_[id].subscribed = true;
}

void Server::Attach(ClientId id, uint64_t request_id, const v1::AttachConsole& request) {
  Client& client = clients_[id];
  Console* console = guest_->console(request.console());
  if (console == nullptr || client.console != nullptr) {
    bool twice = client.console != nullptr;
    return Reply(
        id, request_id,
        MakeError(twice ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kNotFound,
                  twice ? "this connection is a viewer already"
                        : absl::StrCat("the guest has no console \"", request.console(), "\", or it goes nowhere"),
                  {"NO_SUCH_CONSOLE", request.console(),
                   "con0 and con1 are there by default; any other is plugged first: con3=fd:0,fd:1"}),
        {});
  }
  Console::Attachment attachment = console->Attach(request, client.connection.get());
  client.console = console;
  client.viewer = attachment.viewer;
  v1::Reply reply;
  reply.mutable_attach_console()->set_offset(attachment.offset);
  reply.mutable_attach_console()->set_writer(attachment.writer);
  Reply(id, request_id, absl::OkStatus(), std::move(reply));
  // The past goes out when the loop finds the connection writable, after the reply.
  client.connection->WantWritable();
  guest_->OnViewersChanged();
}

void Server::Reply(ClientId id, uint64_t request_id, const absl::Status& status, v1::Reply reply) {
  auto found = clients_.find(id);
  if (found == clients_.end()) return;
  if (!status.ok()) *reply.mutable_error() = ToWireError(status);
  v1::Frame frame;
  frame.set_id(request_id);
  *frame.mutable_reply() = std::move(reply);
  found->second.connection->Send(frame);
}

void Server::ReplyWithFacts(ClientId id, uint64_t request_id, const absl::Status& status) {
  v1::Reply reply;
  if (status.ok()) *reply.mutable_facts() = guest_->facts();
  Reply(id, request_id, status, std::move(reply));
}

void Server::Broadcast(v1::Event event) {
  event.set_sequence(++sequence_);
  v1::Frame frame;
  *frame.mutable_event() = std::move(event);
  for (auto& [id, client] : clients_) {
    if (client.subscribed) client.connection->Send(frame);
  }
}

void Server::OnFacts(const v1::Facts& facts) {
  v1::Event event;
  *event.mutable_facts() = facts;
  Broadcast(std::move(event));
}

void Server::OnRebooted(bool by_guest, const v1::Facts& facts) {
  v1::Event event;
  event.mutable_rebooted()->set_by_guest(by_guest);
  *event.mutable_rebooted()->mutable_facts() = facts;
  Broadcast(std::move(event));
}

void Server::OnUserMessage(absl::string_view message) {
  v1::Event event;
  event.set_user_message(std::string(message));
  Broadcast(std::move(event));
}

void Server::OnExit(const v1::Exit& exit) {
  v1::Event event;
  *event.mutable_exit() = exit;
  Broadcast(std::move(event));
  // From the loop: the guest is in the middle of its last step, and has replies to give.
  leave_timer_ = loop_->RunAfter(EventLoop::Clock::duration::zero(), [this] {
    leaving_ = true;
    leave_timer_ = loop_->RunAfter(kLeaveAtMost, [this] {
      leave_timer_ = 0;
      if (finished_) std::exchange(finished_, nullptr)();
    });
    LeaveWhenFlushed();
  });
}

void Server::LeaveWhenFlushed() {
  if (!leaving_ || !finished_) return;
  bool flushed = std::all_of(clients_.begin(), clients_.end(),
                             [](const auto& entry) { return entry.second.connection->flushed(); });
  if (flushed) std::exchange(finished_, nullptr)();
}

}  // namespace umld::vmcore
