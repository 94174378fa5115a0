#ifndef UMLD_VMCORE_BALLOON_H_
#define UMLD_VMCORE_BALLOON_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "vmcore/mconsole_client.h"

namespace umld::vmcore {

// The memory of one running kernel that is lent back to the host: mconsole's "config mem=-64M". Inside the guest it
// counts as used; on the host its pages are free. Sizes are bytes, in whole pages.
// A pulse lends what is free for a moment, so that the host gets the pages that the guest has used once and needs no
// more. One object per kernel process. Thread: the loop's. Never blocks.
class Balloon {
 public:
  using Done = std::function<void(absl::Status)>;

  // `memory_bytes` is what the kernel was started with; it gets `deadline` for each answer. `mconsole` outlives this
  // object.
  Balloon(EventLoop* loop, MconsoleClient* mconsole, uint64_t memory_bytes,
          EventLoop::Clock::duration deadline = std::chrono::seconds(10));
  ~Balloon();
  Balloon(const Balloon&) = delete;
  Balloon& operator=(const Balloon&) = delete;

  // What pulses have got back; of the last one when, how much, and the longest that one step of it took.
  struct Reclaimed {
    uint32_t count = 0;
    uint64_t total_bytes = 0, bytes = 0;
    int64_t unix_ns = 0;
    EventLoop::Clock::duration longest_stop{};
  };

  // What is lent at present.
  uint64_t lent() const { return lent_; }

  // Takes so much from the guest, all or nothing. kFailedPrecondition: it would leave less than a kernel needs, or the
  // guest has it in use. kDeadlineExceeded: the kernel does not answer. kUnavailable: another change is under way.
  void Take(uint64_t bytes, Done done);
  // Gives it back. kFailedPrecondition: more than is lent.
  void Give(uint64_t bytes, Done done);

  // Takes all that is free and gives it back; seldom takes longer than half a minute. In small pieces, between which
  // the guest runs as long as it stood still for them, as long as it has enough left for whatever it wakes up for; the
  // rest is taken, and all given back, while it is stopped. Does nothing when less than `worth_bytes` of host memory
  // are to be had, which `host_memory` tells the use of. Whoever asks for anything else ends it early.
  // kFailedPrecondition: there is memory lent. The kernel takes less than it is told without a word, and only when none
  // else is lent does giving back too much no harm. kUnavailable: another change is under way. Other errors: the kernel
  // does not answer; see owed.
  void Pulse(uint64_t worth_bytes, std::function<uint64_t()> host_memory, Done done);
  const Reclaimed& reclaimed() const { return reclaimed_; }
  // Of what is lent: what a pulse could not give back. GiveOwed tries again; errors as of Give.
  uint64_t owed() const { return owed_; }
  // There is some, or nobody knows whether the guest goes on after its stop: GiveOwed is to be called until it
  // succeeds.
  bool owes() const { return owed_ > 0 || stopped_; }
  void GiveOwed(Done done);

  // Runs `done` when the change under way is done; at once when there is none. A pulse is ended for it.
  void AfterAll(std::function<void()> done);

  // The kernel has ended: a change that is under way gets kCancelled, with `reason`.
  void Abandon(absl::string_view reason);

 private:
  void TakeNext();
  void TakePiece(uint64_t free_bytes, uint64_t reserve);
  void GiveUpTaking(const absl::Status& why);
  void PulseNext();
  void PulsePiece(uint64_t bytes);
  void PulseRest(uint64_t bytes);
  void LetGo(Done done);
  void EndPulse(const absl::Status& why);
  void FinishPulse(const absl::Status& status);
  void Finish(const absl::Status& status);

  EventLoop* loop_;
  MconsoleClient* mconsole_;
  const uint64_t memory_bytes_;
  EventLoop::Clock::duration deadline_;
  uint64_t lent_ = 0;

  // The change under way; `done_` is empty when there is none.
  Done done_;
  std::vector<std::function<void()>> after_;
  uint64_t wanted_ = 0;     // still to be taken
  uint64_t taken_now_ = 0;  // by this change
  int idle_rounds_ = 0;     // in a row that found nothing to take
  bool boosts_ = true;      // its kernel raises its least (watermark_boost_factor)
  EventLoop::TimerId timer_ = 0;

  // The pulse under way, or null.
  struct PulseUnderWay {
    uint64_t worth_bytes = 0;
    std::function<uint64_t()> host_memory;
    uint64_t host_before = 0;
    EventLoop::Clock::time_point until;
    EventLoop::Clock::duration longest_stop{};
    bool ending = false;
  };
  std::unique_ptr<PulseUnderWay> pulse_;
  uint64_t owed_ = 0;
  bool stopped_ = false;  // by a pulse; it was not heard to go on
  Reclaimed reclaimed_;
};

// Of the answer to "proc meminfo", "MemFree:    1234 kB" in bytes; 0 when it has no such line.
uint64_t MeminfoBytes(absl::string_view meminfo, absl::string_view name);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_BALLOON_H_
