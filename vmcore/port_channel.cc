#include "vmcore/port_channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

constexpr size_t kMaxSessions = 8;
constexpr size_t kReadBytes = 4096;
// Shown first, so that a login prompt that was printed before can be seen.
constexpr uint32_t kHistoryBytes = 1024;
constexpr std::chrono::milliseconds kAcceptPause(1000);
constexpr char kLoopback[] = "127.0.0.1";

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;
};

Address AddressOf(const devices::ConsoleChannel& channel) {
  Address address;
  const std::string text = channel.address.empty() ? kLoopback : channel.address;
  if (absl::StrContains(text, ':')) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(channel.port);
    inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr);
    address.size = sizeof(*v6);
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(channel.port);
    inet_pton(AF_INET, text.c_str(), &v4->sin_addr);
    address.size = sizeof(*v4);
  }
  return address;
}

absl::Status CannotListen(const devices::ConsoleChannel& channel, int error_number) {
  const std::string where =
      absl::StrCat("port ", channel.port, " of ", channel.address.empty() ? kLoopback : channel.address);
  switch (error_number) {
    case EADDRINUSE:
      return MakeError(
          absl::StatusCode::kFailedPrecondition, absl::StrCat(where, " is in use"),
          {"PORT_IN_USE", "", absl::StrCat("choose another port; `ss -ltnp` on the host shows who has it")});
    case EADDRNOTAVAIL:
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(channel.address, " is no address of this host"),
                       {"NO_SUCH_ADDRESS", "", "`ip address` on the host shows those that it has"});
    case EACCES:
      return MakeError(absl::StatusCode::kPermissionDenied, absl::StrCat(where, " may not be listened at by umld"),
                       {"PORT_REFUSED", "", "choose a port from 1024 on"});
    default:
      return ErrnoError(error_number, absl::StrCat("listen at ", where));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChannelBackend>> PortChannel::Open(EventLoop* loop, Console* console,
                                                                  const devices::ConsoleChannel& channel, bool input,
                                                                  bool output) {
  const Address address = AddressOf(channel);
  UniqueFd listener(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.ok()) return CannotListen(channel, errno);
  const int on = 1;
  // Connections of before that linger do not keep the port from us.
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.storage.ss_family == AF_INET6) setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
      listen(listener.get(), static_cast<int>(kMaxSessions)) != 0) {
    return CannotListen(channel, errno);
  }
  std::unique_ptr<PortChannel> port(new PortChannel(loop, console, std::move(listener)));
  port->input_ = input;
  port->output_ = output;
  port->reported_ = devices::PrintConsoleChannel(channel);
  loop->Watch(port->listener_.get(), EPOLLIN, [p = port.get()](uint32_t) { p->Accept(); });
  return port;
}

PortChannel::~PortChannel() {
  sessions_.clear();
  loop_->Cancel(accept_timer_);
  loop_->Unwatch(listener_.get());
}

void PortChannel::Accept() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.ok()) {
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) return;
    // The connection stays in the queue, so do not spin on it.
    Log(absl::StrCat(console_->name(), ": accept: ", strerror(errno)));
    loop_->SetEvents(listener_.get(), 0);
    accept_timer_ = loop_->RunAfter(kAcceptPause, [this] { loop_->SetEvents(listener_.get(), EPOLLIN); });
    return;
  }
  if (sessions_.size() >= kMaxSessions || !console_->active()) {
    static constexpr absl::string_view kBusy = "umld: this console has as many connections as it takes\r\n";
    static constexpr absl::string_view kGone = "umld: the guest has no such console\r\n";
    const absl::string_view why = console_->active() ? kBusy : kGone;
    [[maybe_unused]] ssize_t sent = send(fd.get(), why.data(), why.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // A client whose host has gone away must not stay the writer for ever.
  setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  auto session = std::make_unique<Session>(this, std::move(fd));
  Session* begun = session.get();
  sessions_[begun] = std::move(session);
  begun->Begin();
}

void PortChannel::Close(Session* session) { sessions_.erase(session); }

// ---------------------------------------------------------------- one connection

PortChannel::Session::Session(PortChannel* port, UniqueFd fd) : port_(port), fd_(std::move(fd)) {}

PortChannel::Session::~Session() {
  port_->console_->Detach(viewer_);
  port_->loop_->Unwatch(fd_.get());
}

void PortChannel::Session::Begin() {
  pending_ = std::string(devices::Telnet::Greeting());
  v1::AttachConsole request;
  request.set_history_bytes(port_->output_ ? kHistoryBytes : 0);
  request.set_read_only(!port_->input_);
  viewer_ = port_->console_->Attach(request, this).viewer;
  // The rest follows when the socket is found writable.
  port_->loop_->Watch(fd_.get(), EPOLLIN | EPOLLOUT, [this](uint32_t events) { OnReady(events); });
}

void PortChannel::Session::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0 && Flush()) {
    if (ending_) return port_->Close(this);
    port_->loop_->SetEvents(fd_.get(), EPOLLIN);
    port_->console_->Writable(viewer_);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  char buffer[kReadBytes];
  const ssize_t got = recv(fd_.get(), buffer, sizeof(buffer), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return port_->Close(this);
  Receive(absl::string_view(buffer, static_cast<size_t>(got)));
}

void PortChannel::Session::Receive(absl::string_view bytes) {
  std::string reply;
  v1::ConsoleData typed;
  telnet_.Receive(bytes, typed.mutable_data(), &reply);
  uint16_t rows = 0, columns = 0;
  if (telnet_.TakeSize(&rows, &columns)) {
    typed.set_rows(rows);
    typed.set_columns(columns);
  }
  // A client that asks and does not listen is told no more than fits.
  if (!reply.empty() && pending_.size() < kReadBytes) {
    pending_ += reply;
    if (!Flush()) port_->loop_->SetEvents(fd_.get(), EPOLLIN | EPOLLOUT);
  }
  port_->console_->Receive(viewer_, typed);
}

bool PortChannel::Session::TrySend(const v1::ConsoleData& data) {
  if (!pending_.empty()) return false;
  if (data.lost_bytes() != 0) absl::StrAppend(&pending_, "\r\n[umld: ", data.lost_bytes(), " bytes are lost]\r\n");
  if (port_->output_) pending_ += telnet_.Encode(data.data());
  if (!data.notice().empty()) absl::StrAppend(&pending_, "\r\n[umld: ", data.notice(), "]\r\n");
  if (data.eof()) {
    absl::StrAppend(&pending_, "\r\n[umld: the console has ended]\r\n");
    ending_ = true;
  }
  // Not Close: the console is in the middle of its viewers.
  if (!Flush() || ending_) port_->loop_->SetEvents(fd_.get(), EPOLLIN | EPOLLOUT);
  return true;
}

// True: nothing is left to be sent. A connection that is broken counts as such; OnReady sees its end.
bool PortChannel::Session::Flush() {
  while (!pending_.empty()) {
    const ssize_t sent = send(fd_.get(), pending_.data(), pending_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent <= 0) {
      pending_.clear();
      return true;
    }
    pending_.erase(0, static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace umld::vmcore
