#include "umld/vmcore_client.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/packet_socket.h"
#include "base/status.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

// So that one vmcore that talks without end leaves the loop to the others.
constexpr int kFairPackets = 64;

using vmcore::v1::Frame;
using vmcore::v1::Reply;
using vmcore::v1::Request;

absl::Status Gone() {
  return MakeError(absl::StatusCode::kUnavailable, "the guest's supervisor has ended", {"SUPERVISOR_GONE", "", ""});
}

absl::Status NoReply(absl::Duration timeout) {
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("the guest's supervisor did not answer within ", absl::FormatDuration(timeout)),
                   {"SUPERVISOR_SILENT", "", "try again; if it stays so, kill the guest"});
}

std::string Serialize(uint64_t id, const Request& request) {
  Frame frame;
  frame.set_id(id);
  *frame.mutable_request() = request;
  return frame.SerializeAsString();
}

// Waits until `fd` has one of `events`, at most until `deadline`.
bool WaitFor(int fd, int16_t events, absl::Time deadline) {
  pollfd poll_fd = {fd, events, 0};
  int64_t left = absl::ToInt64Milliseconds(std::max(deadline - absl::Now(), absl::ZeroDuration()));
  return poll(&poll_fd, 1, static_cast<int>(left)) > 0;
}

absl::Status SendWaiting(int fd, const std::string& packet, absl::Time deadline) {
  while (true) {
    absl::Status sent = SendPacket(fd, packet);
    if (!absl::IsResourceExhausted(sent)) return sent.ok() ? sent : Gone();
    if (!WaitFor(fd, POLLOUT, deadline)) return NoReply(absl::ZeroDuration());
  }
}

}  // namespace

absl::StatusOr<Reply> CallOnce(int socket, const Request& request, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  RETURN_IF_ERROR(SendWaiting(socket, Serialize(1, request), deadline));
  if (!WaitFor(socket, POLLIN, deadline)) return NoReply(timeout);
  const absl::StatusOr<std::string> packet = ReceivePacket(socket);
  const absl::StatusOr<Frame> frame = packet.ok() ? DecodeVmcoreFrame(*packet) : packet.status();
  if (!frame.ok() || !frame->has_reply()) return Gone();
  return FromReply(frame->reply());
}

VmcoreClient::VmcoreClient(EventLoop* loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}

VmcoreClient::~VmcoreClient() = default;

void VmcoreClient::Begin(EventHandler on_event, ClosedHandler on_closed) {
  // The loop's watch keeps the client alive until the connection ends.
  loop_->Post([self = shared_from_this(), on_event = std::move(on_event), on_closed = std::move(on_closed)]() mutable {
    {
      absl::MutexLock lock(&self->mutex_);
      if (self->closed_) return;
    }
    self->on_event_ = std::move(on_event);
    self->on_closed_ = std::move(on_closed);
    self->loop_->Watch(self->socket_.get(), EPOLLIN, [self](uint32_t) { self->OnReadable(); });
  });
}

void VmcoreClient::Close() {
  FailAll(Gone());
  loop_->Post([self = shared_from_this()] {
    self->loop_->Unwatch(self->socket_.get());
    self->on_event_ = nullptr;
    self->on_closed_ = nullptr;
    shutdown(self->socket_.get(), SHUT_RDWR);
  });
}

void VmcoreClient::Retire() {
  loop_->Post([self = shared_from_this()] {
    self->on_event_ = nullptr;
    self->on_closed_ = nullptr;
  });
  {
    absl::MutexLock lock(&mutex_);
    retired_ = true;
    if (!pending_.empty()) return;
  }
  Close();
}

absl::StatusOr<Reply> VmcoreClient::Call(const Request& request, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Pending pending;
  uint64_t id;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return Gone();
    id = next_id_++;
    pending_[id] = &pending;
  }
  absl::Status sent = SendWaiting(socket_.get(), Serialize(id, request), deadline);
  bool was_last = false;
  {
    absl::MutexLock lock(&mutex_);
    if (sent.ok()) mutex_.AwaitWithDeadline(absl::Condition(&pending.done), deadline);
    pending_.erase(id);
    was_last = retired_ && !closed_ && pending_.empty();
  }
  if (was_last) Close();
  if (!sent.ok()) return sent;
  if (!pending.done) return NoReply(timeout);
  return pending.result;
}

void VmcoreClient::OnReadable() {
  auto self = shared_from_this();  // the watch that runs us may go away below
  for (int i = 0; i < kFairPackets; ++i) {
    absl::StatusOr<std::string> packet = ReceivePacket(socket_.get());
    if (absl::IsNotFound(packet.status())) return;
    if (packet.ok()) {
      // A frame of a newer vmcore that we cannot read is not the end of the connection.
      if (const absl::StatusOr<Frame> frame = DecodeVmcoreFrame(*packet); frame.ok()) HandleFrame(*frame);
      continue;
    }
    loop_->Unwatch(socket_.get());
    FailAll(Gone());
    ClosedHandler closed = std::exchange(on_closed_, nullptr);
    on_event_ = nullptr;
    if (closed) closed();
    return;
  }
}

void VmcoreClient::HandleFrame(const Frame& frame) {
  if (frame.has_event() && on_event_) on_event_(frame.event());
  if (!frame.has_reply()) return;
  absl::MutexLock lock(&mutex_);
  auto found = pending_.find(frame.id());
  if (found == pending_.end()) return;
  found->second->result = FromReply(frame.reply());
  found->second->done = true;
}

void VmcoreClient::FailAll(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (auto& [id, pending] : pending_) {
    pending->result = status;
    pending->done = true;
  }
}

}  // namespace umld
