#ifndef UMLD_VMCORE_LIFECYCLE_H_
#define UMLD_VMCORE_LIFECYCLE_H_

#include "absl/strings/string_view.h"

namespace umld::vmcore {

// The life of one guest as one table: (state, event) -> (next state, effect). Pure; what an effect means is Guest's.

enum class LifeState {
  kStarting,  // a kernel process is there, its mconsole is not yet up
  kRunning,
  kPaused,     // frozen by mconsole's stop
  kStopping,   // its end is asked for, and nothing shall follow
  kRebooting,  // its end is asked for, and a new kernel shall follow
  kKilling,    // SIGKILL is sent, the processes are not yet reaped
  kExited,
};
inline constexpr int kLifeStates = 7;

enum class LifeEvent {
  kMconsoleUp,
  kStopAsked,
  kRebootAsked,
  kKillAsked,
  kPauseAsked,
  kFrozen,  // mconsole's stop has answered
  kResumeAsked,
  kThawed,  // mconsole's go has answered
  // The three ways in which a kernel ends; by then every process of it is reaped.
  kGuestPoweredOff,
  kGuestRebooted,
  kKernelCrashed,
};
inline constexpr int kLifeEvents = 11;

enum class LifeEffect {
  kIgnore,
  kRefuse,       // the request is an error in this state
  kAlready,      // the request is granted, there is nothing to do
  kAnnounce,     // tell the new state to everybody
  kBeginStop,    // start the steps of a stop
  kShortenStop,  // the steps are under way: a newer request may only shorten them
  kKillKernel,
  kFreeze,
  kThaw,
  kStartKernel,       // the kernel is gone: start the next one
  kFinishPoweredOff,  // the kernel is gone: write the exit record and leave
  kFinishStopped,
  kFinishKilled,
  kFinishCrashed,
};

struct LifeStep {
  LifeState next;
  LifeEffect effect;
};

// Total: every event has a step in every state.
LifeStep NextStep(LifeState state, LifeEvent event);

// "RUNNING". For logs and messages.
absl::string_view LifeStateName(LifeState state);

// The one place that assigns the state.
class Lifecycle {
 public:
  LifeState state() const { return state_; }
  LifeEffect On(LifeEvent event);

 private:
  LifeState state_ = LifeState::kStarting;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_LIFECYCLE_H_
