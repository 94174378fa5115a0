#ifndef UMLD_VMCORE_MCONSOLE_CLIENT_H_
#define UMLD_VMCORE_MCONSOLE_CLIENT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmcore/mconsole_wire.h"

namespace umld::vmcore {

// An answer that is no success, as an error: kFailedPrecondition KERNEL_REFUSED with the kernel's text about `subject`.
absl::Status ToStatus(const absl::StatusOr<MconsoleAnswer>& answer, absl::string_view subject = "");

// Makes the folder for a client's reply sockets (kShownFolder), emptied of what an earlier one left there, so that a
// kernel of any user can reach them. Who may enter the folder above it is the caller's to decide.
absl::Status MakeShownFolder(const std::string& path);

// Talks to the management console of one kernel with the discipline that it needs (see mconsole_client.cc).
// Thread: the loop's. Never blocks, but while a reply's fragments are coming in, and then for milliseconds.
class MconsoleClient {
 public:
  using Clock = EventLoop::Clock;
  using Done = std::function<void(absl::StatusOr<MconsoleAnswer>)>;

  // `path` is the kernel's mconsole socket; it need not be there yet. `reply_folder` exists, and means the same to the
  // kernel, which may search it: the answers come to sockets in it. They are this client's, and go with it.
  MconsoleClient(EventLoop* loop, std::string path, std::string reply_folder)
      : loop_(loop), path_(std::move(path)), reply_folder_(std::move(reply_folder)) {}
  // Forgets what waits; no callback runs any more.
  ~MconsoleClient();
  MconsoleClient(const MconsoleClient&) = delete;
  MconsoleClient& operator=(const MconsoleClient&) = delete;

  // Sends `command` when those before it are answered. The deadline counts from the moment it is sent.
  // kInvalidArgument: empty or longer than 511 bytes; nothing is sent. kUnavailable: no kernel listens.
  // kDeadlineExceeded: sent, and not answered; whether it was carried out is unknown. kCancelled: Abandon was called.
  // `done` never runs inside Send.
  void Send(std::string command, Clock::duration deadline, Done done);

  // The kernel has ended: everything that waits gets kCancelled, with `reason`.
  void Abandon(absl::string_view reason);

  // False from a request that timed out until one is answered. `changed` runs on every change.
  bool answers() const { return answers_; }
  void OnAnswersChanged(std::function<void()> changed) { answers_changed_ = std::move(changed); }

 private:
  struct Request {
    std::string command;
    Clock::duration deadline;
    Done done;
  };

  void StartNext();
  absl::Status OpenSocket();
  void CloseSocket();
  void Transmit();
  void OnReady(uint32_t events);
  void DrainFragments();
  void OnResendTimer();
  void Finish(absl::StatusOr<MconsoleAnswer> result);
  void SetAnswers(bool answers);

  EventLoop* loop_;
  std::string path_, reply_folder_;
  UniqueFd socket_;
  std::string reply_path_;     // where socket_ is bound
  unsigned sockets_ = 0;       // so far
  std::deque<Request> queue_;  // the front one is in flight when busy_
  bool busy_ = false;
  MconsoleAnswerReader answer_;
  bool complete_ = false;
  EventLoop::TimerId deadline_timer_ = 0;
  EventLoop::TimerId resend_timer_ = 0;
  EventLoop::TimerId start_timer_ = 0;
  bool answers_ = true;
  std::function<void()> answers_changed_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_MCONSOLE_CLIENT_H_
