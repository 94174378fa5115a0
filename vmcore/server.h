#ifndef UMLD_VMCORE_SERVER_H_
#define UMLD_VMCORE_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmcore/connection.h"
#include "vmcore/guest.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// vmcore's side of the private protocol: takes connections, turns requests into calls of the guest, and tells the
// subscribers what happens. That nobody is connected is normal: umld may be away.
// Thread: the loop's. Never blocks.
class Server : public GuestObserver {
 public:
  // Listens on `path` and, when it is open, serves `first_connection` too.
  static absl::StatusOr<std::unique_ptr<Server>> Create(EventLoop* loop, const std::string& path,
                                                        UniqueFd first_connection);
  ~Server() override;

  // Requests are served from here on. The guest outlives the server's use of it.
  void SetGuest(Guest* guest) { guest_ = guest; }
  // Runs once OnExit has come and everybody has been told, or has not listened for a second.
  void OnFinished(std::function<void()> finished) { finished_ = std::move(finished); }

  // GuestObserver
  void OnFacts(const v1::Facts& facts) override;
  void OnRebooted(bool by_guest, const v1::Facts& facts) override;
  void OnUserMessage(absl::string_view message) override;
  void OnExit(const v1::Exit& exit) override;

 private:
  struct Client {
    std::shared_ptr<Connection> connection;
    bool greeted = false;
    bool subscribed = false;
    Console* console = nullptr;  // a viewer's
    Console::ViewerId viewer = 0;
  };
  using ClientId = uint64_t;

  Server(EventLoop* loop, UniqueFd listener);

  void Accept();
  void Serve(UniqueFd fd);
  void Disconnect(ClientId id);
  void OnFrame(ClientId id, const v1::Frame& frame);
  void OnRequest(ClientId id, uint64_t request_id, const v1::Request& request);
  void Subscribe(ClientId id, uint64_t request_id);
  void Attach(ClientId id, uint64_t request_id, const v1::AttachConsole& request);
  void Reply(ClientId id, uint64_t request_id, const absl::Status& status, v1::Reply reply);
  void ReplyWithFacts(ClientId id, uint64_t request_id, const absl::Status& status);
  void Broadcast(v1::Event event);
  void LeaveWhenFlushed();

  EventLoop* loop_;
  UniqueFd listener_;
  Guest* guest_ = nullptr;
  std::map<ClientId, Client> clients_;
  ClientId next_client_ = 1;
  ClientId launcher_ = 0;  // the first connection; 0: there was none
  uint64_t sequence_ = 0;
  std::function<void()> finished_;
  bool leaving_ = false;
  EventLoop::TimerId leave_timer_ = 0;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_SERVER_H_
