#ifndef UMLD_BASE_PACKET_SOCKET_H_
#define UMLD_BASE_PACKET_SOCKET_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld {

// Unix sockets of type SOCK_SEQPACKET (umld and vmcore) and SOCK_DGRAM (mconsole), by paths of any length: one that
// does not fit sockaddr_un is reached through its folder's /proc/self/fd entry.

inline constexpr size_t kMaxPacketBytes = 64 * 1024;

// Binds and listens; the file gets mode 0600. A stale socket file is replaced; anything else in its place is an error.
absl::StatusOr<UniqueFd> ListenPackets(const std::string& path);
// kUnavailable: nobody listens, or the queue is full. Non-blocking, as all sockets from here.
absl::StatusOr<UniqueFd> ConnectPackets(const std::string& path);
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> PacketPair();

// A datagram socket bound to `path`, replacing a stale file.
absl::StatusOr<UniqueFd> BindDatagrams(const std::string& path, int mode);
// kUnavailable: nobody there (ENOENT, ECONNREFUSED), or its queue is full (EAGAIN).
absl::Status SendDatagram(int fd, const std::string& path, absl::string_view data);

// Sends one packet whole. kResourceExhausted: the peer does not read at present; kUnavailable: it is gone.
absl::Status SendPacket(int fd, absl::string_view packet);
// Receives one packet. kUnavailable: the peer is gone; kNotFound: nothing there now; kDataLoss: longer than
// kMaxPacketBytes.
absl::StatusOr<std::string> ReceivePacket(int fd);

}  // namespace umld

#endif  // UMLD_BASE_PACKET_SOCKET_H_
