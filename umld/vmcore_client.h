#ifndef UMLD_UMLD_VMCORE_CLIENT_H_
#define UMLD_UMLD_VMCORE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

// The control connection to one vmcore. Calls may come from any thread and block; events and the end of the connection
// are told on the loop's thread, in the order in which vmcore sent them.
class VmcoreClient : public std::enable_shared_from_this<VmcoreClient> {
 public:
  using EventHandler = std::function<void(const vmcore::v1::Event&)>;
  using ClosedHandler = std::function<void()>;

  // Takes over a connected socket. `loop` outlives it. Nothing is read before Begin.
  VmcoreClient(EventLoop* loop, UniqueFd socket);
  ~VmcoreClient();

  // Starts reading. Handlers run on the loop's thread; `closed` once, as the last one. Any thread.
  void Begin(EventHandler on_event, ClosedHandler on_closed);
  // Fails all calls under way and closes; `closed` is not called any more. Any thread.
  void Close();
  // Another connection has taken its place: no handler is called any more, and it closes when the calls under way are
  // over. Any thread; does not block.
  void Retire();

  // Sends a request and waits for its reply; an error in the reply becomes the status, with its detail.
  // kDeadlineExceeded: no reply in time (a late one is dropped). kUnavailable: vmcore is gone.
  absl::StatusOr<vmcore::v1::Reply> Call(const vmcore::v1::Request& request, absl::Duration timeout);

 private:
  struct Pending {
    bool done = false;
    absl::StatusOr<vmcore::v1::Reply> result = absl::UnknownError("pending");
  };

  void OnReadable();
  void HandleFrame(const vmcore::v1::Frame& frame);
  void FailAll(const absl::Status& status);

  EventLoop* const loop_;
  UniqueFd socket_;  // closed by the destructor alone, so that its number stays valid for every thread that sends
  EventHandler on_event_;
  ClosedHandler on_closed_;
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool retired_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::unordered_map<uint64_t, Pending*> pending_ ABSL_GUARDED_BY(mutex_);
};

// One request and reply without events, for a connection that becomes something else (a console viewer). Blocks.
absl::StatusOr<vmcore::v1::Reply> CallOnce(int socket, const vmcore::v1::Request& request, absl::Duration timeout);

}  // namespace umld

#endif  // UMLD_UMLD_VMCORE_CLIENT_H_
