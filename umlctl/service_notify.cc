#include "umlctl/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace umld::umlctl {

void NotifyService(absl::string_view message) {
  const char* where = std::getenv("NOTIFY_SOCKET");
  if (where == nullptr || (where[0] != '/' && where[0] != '@')) return;
  const size_t length = std::strlen(where);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (length >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, where, length);
  // "@x" is x in the abstract namespace, whose names begin with NUL.
  if (where[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // Nobody to tell is nobody who waits.
  [[maybe_unused]] const ssize_t sent =
      sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace umld::umlctl
