#include "vmcore/notify_socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "base/packet_socket.h"
#include "base/status.h"
#include "vmcore/mconsole_wire.h"

namespace umld::vmcore {
namespace {

// More than the host queues for a socket (net.unix.max_dgram_qlen); a guest may send for ever.
constexpr int kInOneGo = 1024;

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
  for (int i = 0; i < kInOneGo; ++i) {
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
  const std::optional<MconsoleNotification> notification = ParseMconsoleNotification(datagram);
  if (!notification.has_value()) return;
  const bool announces = notification->type == MconsoleNotifyType::kSocket;
  if (!listener_.empty()) {
    // Nobody listens, or it does not read: the kernel would not care either.
    const std::string passed_on = announces ? MconsoleAnnouncement(mconsole_path_) : std::string(datagram);
    SendDatagram(fd_.get(), listener_, passed_on).IgnoreError();
  }
  switch (notification->type) {
    case MconsoleNotifyType::kSocket:
      callbacks_.mconsole_up();
      return;
    case MconsoleNotifyType::kPanic:
      callbacks_.panic(notification->data.substr(0, notification->data.find('\0')));
      return;
    case MconsoleNotifyType::kUser:
      callbacks_.user_message(notification->data);
      return;
    case MconsoleNotifyType::kHang:
      return;  // no kernel sends it
  }
}

}  // namespace umld::vmcore
