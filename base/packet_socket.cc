#include "base/packet_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

// A sockaddr_un for `path`, and the folder's fd that it goes through when the path is long.
struct Address {
  sockaddr_un storage = {};
  UniqueFd folder;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

absl::StatusOr<Address> MakeAddress(const std::string& path) {
  Address address;
  address.storage.sun_family = AF_UNIX;
  std::string text = path;
  if (text.size() >= sizeof(address.storage.sun_path)) {
    size_t slash = path.rfind('/');
    std::string folder = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
    address.folder.reset(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!address.folder.ok()) return ErrnoError(errno, absl::StrCat("open ", folder));
    text = absl::StrCat("/proc/self/fd/", address.folder.get(), "/", path.substr(slash + 1));
    if (text.size() >= sizeof(address.storage.sun_path)) return ErrnoError(ENAMETOOLONG, absl::StrCat("socket ", path));
  }
  std::memcpy(address.storage.sun_path, text.c_str(), text.size() + 1);
  return address;
}

absl::Status RemoveStaleSocket(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " exists and is not a socket"),
                     {"FILE_EXISTS", path, "move it away"});
  }
  if (unlink(path.c_str()) != 0) return ErrnoError(errno, absl::StrCat("remove ", path));
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Bind(const std::string& path, int type, int mode) {
  RETURN_IF_ERROR(RemoveStaleSocket(path));
  ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return ErrnoError(errno, "socket");
  // fchmod before bind decides the file's mode without a window in which it is wider.
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, "fchmod");
  if (bind(fd.get(), address.get(), sizeof(address.storage)) != 0)
    return ErrnoError(errno, absl::StrCat("bind ", path));
  if (chmod(path.c_str(), mode) != 0) return ErrnoError(errno, absl::StrCat("chmod ", path));
  return fd;
}

absl::Status PeerError(int error_number, absl::string_view what) {
  if (error_number == EAGAIN || error_number == ENOBUFS) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": the peer does not read"));
  }
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error_number)));
}

}  // namespace

absl::StatusOr<UniqueFd> ListenPackets(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, Bind(path, SOCK_SEQPACKET, 0600));
  if (listen(fd.get(), 64) != 0) return ErrnoError(errno, absl::StrCat("listen ", path));
  return fd;
}

absl::StatusOr<UniqueFd> ConnectPackets(const std::string& path) {
  ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return ErrnoError(errno, "socket");
  if (connect(fd.get(), address.get(), sizeof(address.storage)) != 0) {
    return absl::UnavailableError(absl::StrCat("connect ", path, ": ", std::strerror(errno)));
  }
  return fd;
}

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> PacketPair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
    return ErrnoError(errno, "socketpair");
  }
  return std::make_pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

absl::StatusOr<UniqueFd> BindDatagrams(const std::string& path, int mode) { return Bind(path, SOCK_DGRAM, mode); }

absl::Status SendDatagram(int fd, const std::string& path, absl::string_view data) {
  ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  ssize_t sent =
      sendto(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL, address.get(), sizeof(address.storage));
  if (sent < 0) return absl::UnavailableError(absl::StrCat("send to ", path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

absl::Status SendPacket(int fd, absl::string_view packet) {
  while (send(fd, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return PeerError(errno, "send");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReceivePacket(int fd) {
  // Read into a buffer of the thread's and copied at its true size: an idle vmcore keeps 64 KiB less per connection.
  static thread_local char buffer[kMaxPacketBytes];
  ssize_t got;
  do {
    // A peer that closed with packets of ours unread: that is told once and first, and its own last packets come then.
    got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC);
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return absl::NotFoundError("nothing to receive");
  if (got < 0) return PeerError(errno, "receive");
  if (got == 0) return absl::UnavailableError("the peer has closed the connection");
  if (static_cast<size_t>(got) > sizeof(buffer)) return absl::DataLossError("packet too long");
  return std::string(buffer, static_cast<size_t>(got));
}

}  // namespace umld
