#include "vmcore/connection.h"

#include <sys/epoll.h>

#include <utility>

#include "base/packet_socket.h"
#include "vmcore/protocol.h"

namespace umld::vmcore {
namespace {

constexpr size_t kMaxOutboxBytes = size_t{1} << 20;
constexpr int kFairFrames = 16;

}  // namespace

std::shared_ptr<Connection> Connection::Create(EventLoop* loop, UniqueFd fd, Callbacks callbacks) {
  std::shared_ptr<Connection> connection(new Connection(loop, std::move(fd), std::move(callbacks)));
  loop->Watch(connection->fd_.get(), EPOLLIN, [c = connection.get()](uint32_t events) { c->OnReady(events); });
  return connection;
}

Connection::Connection(EventLoop* loop, UniqueFd fd, Callbacks callbacks)
    : loop_(loop), fd_(std::move(fd)), callbacks_(std::move(callbacks)) {}

Connection::~Connection() { Close(); }

void Connection::Close() {
  if (!fd_.ok()) return;
  loop_->Unwatch(fd_.get());
  fd_.reset();
}

void Connection::Send(const v1::Frame& frame) {
  if (!fd_.ok() || failed_) return;
  std::string packet = EncodeFrame(frame);
  if (outbox_.empty()) {
    absl::Status status = SendPacket(fd_.get(), packet);
    if (status.ok()) return;
    if (!absl::IsResourceExhausted(status)) return;  // gone: the loop tells
  }
  outbox_bytes_ += packet.size();
  outbox_.push_back(std::move(packet));
  if (outbox_bytes_ > kMaxOutboxBytes) return Fail();
  UpdateEvents();
}

bool Connection::TrySend(const v1::ConsoleData& data) {
  if (!fd_.ok() || failed_) return false;
  if (outbox_.empty()) {
    v1::Frame frame;
    *frame.mutable_console() = data;
    absl::Status status = SendPacket(fd_.get(), EncodeFrame(frame));
    if (status.ok()) return true;
    if (!absl::IsResourceExhausted(status)) return false;
  }
  WantWritable();
  return false;
}

void Connection::WantWritable() {
  want_writable_ = true;
  if (fd_.ok()) UpdateEvents();
}

void Connection::UpdateEvents() {
  bool out = want_writable_ || !outbox_.empty();
  loop_->SetEvents(fd_.get(), EPOLLIN | (out ? static_cast<uint32_t>(EPOLLOUT) : 0U));
}

// Tells the owner from the loop, who may drop this object then.
void Connection::Fail() {
  if (std::exchange(failed_, true)) return;
  loop_->RunAfter(EventLoop::Clock::duration::zero(), [weak = weak_from_this()] {
    if (auto self = weak.lock(); self != nullptr && self->fd_.ok()) self->callbacks_.closed();
  });
}

void Connection::OnReady(uint32_t events) {
  std::shared_ptr<Connection> self = shared_from_this();  // a callback may drop us
  if ((events & EPOLLOUT) != 0) Flush();
  if (fd_.ok() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Receive();
}

void Connection::Receive() {
  for (int i = 0; i < kFairFrames && fd_.ok() && !failed_; ++i) {
    absl::StatusOr<std::string> packet = ReceivePacket(fd_.get());
    if (absl::IsNotFound(packet.status())) return;
    if (!packet.ok()) return callbacks_.closed();
    absl::StatusOr<v1::Frame> frame = DecodeFrame(*packet);
    if (!frame.ok()) return callbacks_.closed();
    callbacks_.frame(*frame);
  }
}

void Connection::Flush() {
  while (!outbox_.empty()) {
    absl::Status status = SendPacket(fd_.get(), outbox_.front());
    if (absl::IsResourceExhausted(status)) return;
    if (!status.ok()) break;
    outbox_bytes_ -= outbox_.front().size();
    outbox_.pop_front();
  }
  bool tell = std::exchange(want_writable_, false);
  UpdateEvents();
  if (tell) callbacks_.writable();
}

}  // namespace umld::vmcore
