#ifndef UMLD_VMCORE_STOP_SEQUENCE_H_
#define UMLD_VMCORE_STOP_SEQUENCE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "vmcore/mconsole_client.h"

namespace umld::vmcore {

// How long each step of a stop may take before the next one begins.
struct StopGraces {
  bool skip_orderly = false;
  std::chrono::milliseconds orderly{30000};
  std::chrono::milliseconds halt{5000};
  std::chrono::milliseconds term{2000};
};

// Ends one kernel step by step: (go,) sync, ctrl-alt-del; remount read-only, halt; SIGTERM; kill. A step that cannot
// work, because the mconsole is not up or does not answer, is left at once. The owner destroys it when the kernel is
// gone. Thread: the loop's. Never blocks.
class StopSequence {
 public:
  struct Kernel {
    MconsoleClient* mconsole = nullptr;
    bool mconsole_up = false;
    std::function<void()> terminate;  // SIGTERM to the kernel's main process
    std::function<void()> kill;
    std::function<uint64_t()> console_offset;            // of the next byte on con0
    std::function<std::string(uint64_t)> console_since;  // what con0 printed from there on, or the end of it
  };

  StopSequence(EventLoop* loop, Kernel kernel, const StopGraces& graces);
  ~StopSequence();
  StopSequence(const StopSequence&) = delete;
  StopSequence& operator=(const StopSequence&) = delete;

  // A newer request: each grace becomes the shorter one, and the orderly step is left if it is not wanted any more.
  void Shorten(const StopGraces& graces);
  // con0 has printed something.
  void OnConsoleOutput();

  // The step under way: "orderly", "halt", "sigterm", "kill".
  absl::string_view stage() const;

 private:
  enum class Stage { kOrderly, kHalt, kTerm, kKill };
  using Clock = EventLoop::Clock;

  void Enter(Stage stage);
  void Arm();
  std::chrono::milliseconds Grace() const;
  void SyncThen(std::string request, absl::string_view completion, std::chrono::milliseconds at_most,
                std::string command);
  void SyncDone();
  void Command(std::string command);
  void NextStage();

  EventLoop* loop_;
  Kernel kernel_;
  StopGraces graces_;
  Stage stage_ = Stage::kOrderly;
  Clock::time_point entered_{};
  EventLoop::TimerId stage_timer_ = 0;
  EventLoop::TimerId sync_timer_ = 0;
  std::string after_sync_;     // the command to send when the sync is complete; empty: none waits
  absl::string_view awaited_;  // what con0 says when the sync is complete; empty: nothing is waited for
  uint64_t sync_offset_ = 0;
  // Answers of the mconsole that come when this object is gone, or in another stage, find it changed.
  std::shared_ptr<int> epoch_ = std::make_shared<int>(0);
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_STOP_SEQUENCE_H_
