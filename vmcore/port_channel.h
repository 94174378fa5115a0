#ifndef UMLD_VMCORE_PORT_CHANNEL_H_
#define UMLD_VMCORE_PORT_CHANNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "devices/console/console_spec.h"
#include "devices/console/telnet.h"
#include "vmcore/channel_backend.h"
#include "vmcore/console.h"

namespace umld::vmcore {

// A console on a TCP port, for telnet and for nc. Each connection is a viewer as any other: the first one writes, and
// leaves the guest's session as it is when it goes. Listens at loopback unless the channel has an address: there is no
// password but the guest's own.
// Thread: the loop's. Never blocks.
class PortChannel : public ChannelBackend {
 public:
  // kFailedPrecondition, PORT_IN_USE: somebody listens there. kInvalidArgument: no address of this host.
  // kPermissionDenied: a port below 1024.
  static absl::StatusOr<std::unique_ptr<ChannelBackend>> Open(EventLoop* loop, Console* console,
                                                              const devices::ConsoleChannel& channel, bool input,
                                                              bool output);
  ~PortChannel() override;
  PortChannel(const PortChannel&) = delete;
  PortChannel& operator=(const PortChannel&) = delete;

  std::string reported() const override { return reported_; }

 private:
  // One connection.
  class Session : public ViewerLink {
   public:
    Session(PortChannel* port, UniqueFd fd);
    ~Session() override;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void Begin();
    void OnReady(uint32_t events);
    bool TrySend(const v1::ConsoleData& data) override;

   private:
    bool Flush();
    void Receive(absl::string_view bytes);

    PortChannel* port_;
    UniqueFd fd_;
    devices::Telnet telnet_;
    Console::ViewerId viewer_ = 0;
    std::string pending_;  // what the socket did not take yet
    bool ending_ = false;  // closes once that is out
  };

  PortChannel(EventLoop* loop, Console* console, UniqueFd listener)
      : loop_(loop), console_(console), listener_(std::move(listener)) {}

  void Accept();
  void Close(Session* session);

  EventLoop* loop_;
  Console* console_;
  UniqueFd listener_;
  bool input_ = true, output_ = true;
  std::string reported_;
  EventLoop::TimerId accept_timer_ = 0;
  std::map<Session*, std::unique_ptr<Session>> sessions_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_PORT_CHANNEL_H_
