#ifndef UMLD_VMCORE_MCONSOLE_FAKE_H_
#define UMLD_VMCORE_MCONSOLE_FAKE_H_

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "base/event_loop.h"
#include "base/packet_socket.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "vmcore/mconsole_wire.h"

namespace umld::vmcore {

// For tests: a kernel's mconsole as far as its socket goes, with all the bad habits that a test wants. On the test's
// own loop.
class FakeMconsole {
 public:
  struct Peer {
    sockaddr_un address = {};
    socklen_t length = 0;
  };
  using Handler = std::function<void(const std::string& command, const Peer& from)>;

  FakeMconsole(EventLoop* loop, const std::string& path, Handler handler)
      : loop_(loop), socket_(*BindDatagrams(path, 0600)), handler_(std::move(handler)) {
    loop_->Watch(socket_.get(), EPOLLIN, [this](uint32_t) { Receive(); });
  }
  ~FakeMconsole() { loop_->Unwatch(socket_.get()); }
  FakeMconsole(const FakeMconsole&) = delete;
  FakeMconsole& operator=(const FakeMconsole&) = delete;

  // False: the peer does not take it.
  bool Reply(const Peer& to, const std::string& text, int error = 0, bool more = false) {
    MconsoleReplyHeader header = {error, more ? 1U : 0U, static_cast<uint32_t>(text.size() + 1)};
    std::string datagram(reinterpret_cast<const char*>(&header), sizeof(header));
    datagram += text;
    datagram.push_back('\0');
    return SendRaw(to, datagram);
  }
  bool SendRaw(const Peer& to, const std::string& datagram) {
    return sendto(socket_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                  reinterpret_cast<const sockaddr*>(&to.address), to.length) >= 0;
  }

 private:
  void Receive() {
    char buffer[2048];
    Peer from;
    from.length = sizeof(from.address);
    ssize_t got = recvfrom(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT,
                           reinterpret_cast<sockaddr*>(&from.address), &from.length);
    MconsoleRequestHeader header = {};
    ASSERT_GE(got, static_cast<ssize_t>(sizeof(header)));
    std::memcpy(&header, buffer, sizeof(header));
    EXPECT_EQ(header.magic, kMconsoleMagic);
    EXPECT_EQ(header.version, kMconsoleVersion);
    EXPECT_EQ(static_cast<size_t>(got), sizeof(header) + header.length);
    handler_(std::string(buffer + sizeof(header), header.length), from);
  }

  EventLoop* loop_;
  UniqueFd socket_;
  Handler handler_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_MCONSOLE_FAKE_H_
