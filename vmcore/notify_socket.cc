#include "vmcore/notify_socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/packet_socket.h"
#include "base/status.h"
#include "vmcore/mconsole_wire.h"

namespace umld::vmcore {
namespace {

// More than a socket's queue holds.
constexpr int kMostAtOnce = 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<NotifySocket>> NotifySocket::Bind(EventLoop* loop, const std::string& path,
                                                                 Callbacks callbacks) {
  ASSIGN_OR_RETURN(UniqueFd fd, BindDatagrams(path, 0600));
  return std::unique_ptr<NotifySocket>(new NotifySocket(loop, std::move(fd), std::move(callbacks)));
}

NotifySocket::NotifySocket(EventLoop* loop, UniqueFd fd, Callbacks callbacks)
    : loop_(loop), fd_(std::move(fd)), callbacks_(std::move(callbacks)) {
  loop_->Watch(fd_.get(), EPOLLIN, [this](uint32_t) { Drain(); });
}

NotifySocket::~NotifySocket() { loop_->Unwatch(fd_.get()); }

void NotifySocket::Drain() {
  char buffer[sizeof(MconsoleNotifyHeader) + kMconsoleDataBytes];
  for (int i = 0; i < kMostAtOnce; ++i) {
    ssize_t got = recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    Handle(absl::string_view(buffer, static_cast<size_t>(got)));
  }
}

void NotifySocket::PassOn(const std::string& listener, const std::string& mconsole_path) {
  listener_ = listener;
  mconsole_path_ = mconsole_path;
}

void NotifySocket::Handle(absl::string_view datagram) {
  MconsoleNotifyHeader header = {};
  if (datagram.size() < sizeof(header)) return;
  std::memcpy(&header, datagram.data(), sizeof(header));
  if (header.magic != kMconsoleMagic) return;
  absl::string_view data = datagram.substr(sizeof(header));
  data = data.substr(0, std::min<size_t>(header.length, data.size()));
  if (!listener_.empty()) {
    std::string copy(datagram);
    if (static_cast<MconsoleNotifyType>(header.type) == MconsoleNotifyType::kSocket) {
      header.length = static_cast<uint32_t>(mconsole_path_.size() + 1);
      copy.assign(reinterpret_cast<const char*>(&header), sizeof(header));
      copy.append(mconsole_path_.c_str(), header.length);
    }
    // Nobody listens, or it does not read: the kernel would not care either.
    SendDatagram(fd_.get(), listener_, copy).IgnoreError();
  }
  switch (static_cast<MconsoleNotifyType>(header.type)) {
    case MconsoleNotifyType::kSocket:
      callbacks_.mconsole_up();
      return;
    case MconsoleNotifyType::kPanic:
      callbacks_.panic(data.substr(0, data.find('\0')));
      return;
    case MconsoleNotifyType::kUser:
      callbacks_.user_message(data);
      return;
    case MconsoleNotifyType::kHang:
      return;  // no kernel sends it
  }
}

}  // namespace umld::vmcore
