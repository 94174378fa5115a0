#ifndef UMLD_VMCORE_NOTIFY_SOCKET_H_
#define UMLD_VMCORE_NOTIFY_SOCKET_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace umld::vmcore {

// The socket behind `mconsole=notify:PATH`, on which a kernel tells that its mconsole is up, that it panics, and what
// its guest wrote to /proc/mconsole. Bound anew before each boot.
// Thread: the loop's. Never blocks.
class NotifySocket {
 public:
  struct Callbacks {
    std::function<void()> mconsole_up;
    std::function<void(absl::string_view)> panic;         // the panic's text
    std::function<void(absl::string_view)> user_message;  // bytes as the guest wrote them
  };

  static absl::StatusOr<std::unique_ptr<NotifySocket>> Bind(EventLoop* loop, const std::string& path,
                                                            Callbacks callbacks);
  ~NotifySocket();

  // Passes on everything from now on to the socket `listener`, and the announcement of the kernel's mconsole with
  // `mconsole_path` in it. Best effort: what the listener does not take at once is lost. Empty: to nobody.
  void PassOn(const std::string& listener, const std::string& mconsole_path);

  // Takes what has arrived already: what a kernel said before its end counts before its end. One that does not stop
  // talking is heard again later: others are to have their turn.
  void Drain();

 private:
  NotifySocket(EventLoop* loop, UniqueFd fd, Callbacks callbacks);
  void Handle(absl::string_view datagram);

  EventLoop* loop_;
  UniqueFd fd_;
  Callbacks callbacks_;
  std::string listener_, mconsole_path_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_NOTIFY_SOCKET_H_
