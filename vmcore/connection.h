#ifndef UMLD_VMCORE_CONNECTION_H_
#define UMLD_VMCORE_CONNECTION_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmcore/consoles.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// One connection of the private protocol. Frames that the peer does not take at once wait here, up to a limit, and the
// connection is dropped beyond it. Console data never waits here: the console's history does that.
// Thread: the loop's. Never blocks. None of the callbacks runs inside a call of Send or TrySend.
class Connection : public ViewerLink, public std::enable_shared_from_this<Connection> {
 public:
  struct Callbacks {
    std::function<void(const v1::Frame&)> frame;
    std::function<void()> writable;  // after a TrySend that was refused, or WantWritable
    std::function<void()> closed;    // the peer is gone, or talks nonsense; the owner drops this object
  };

  static std::shared_ptr<Connection> Create(EventLoop* loop, UniqueFd fd, Callbacks callbacks);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Send(const v1::Frame& frame);
  bool TrySend(const v1::ConsoleData& data) override;
  void WantWritable();
  // True when nothing waits to be sent.
  bool flushed() const { return outbox_.empty() && !want_writable_; }
  // No callback runs any more.
  void Close();

 private:
  Connection(EventLoop* loop, UniqueFd fd, Callbacks callbacks);

  void OnReady(uint32_t events);
  void Receive();
  void Flush();
  void UpdateEvents();
  void Fail();

  EventLoop* loop_;
  UniqueFd fd_;
  Callbacks callbacks_;
  std::deque<std::string> outbox_;
  size_t outbox_bytes_ = 0;
  bool want_writable_ = false;
  bool failed_ = false;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CONNECTION_H_
