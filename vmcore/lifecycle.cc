#include "vmcore/lifecycle.h"

namespace umld::vmcore {
namespace {

using S = LifeState;
using E = LifeEvent;
using F = LifeEffect;

struct Row {
  LifeState state;
  LifeEvent event;
  LifeState next;
  LifeEffect effect;
};

// clang-format off
constexpr Row kTable[] = {
    // A kernel that ends before its mconsole was up has failed to start, whatever its exit code says.
    {S::kStarting,  E::kMconsoleUp,      S::kRunning,   F::kAnnounce},
    {S::kStarting,  E::kStopAsked,       S::kStopping,  F::kBeginStop},
    {S::kStarting,  E::kRebootAsked,     S::kRebooting, F::kBeginStop},
    {S::kStarting,  E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kStarting,  E::kGuestPoweredOff, S::kExited,    F::kFinishCrashed},
    {S::kStarting,  E::kGuestRebooted,   S::kExited,    F::kFinishCrashed},
    {S::kStarting,  E::kKernelCrashed,   S::kExited,    F::kFinishCrashed},

    {S::kRunning,   E::kStopAsked,       S::kStopping,  F::kBeginStop},
    {S::kRunning,   E::kRebootAsked,     S::kRebooting, F::kBeginStop},
    {S::kRunning,   E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kRunning,   E::kPauseAsked,      S::kRunning,   F::kFreeze},
    {S::kRunning,   E::kFrozen,          S::kPaused,    F::kAnnounce},
    {S::kRunning,   E::kResumeAsked,     S::kRunning,   F::kAlready},
    {S::kRunning,   E::kGuestPoweredOff, S::kExited,    F::kFinishPoweredOff},
    {S::kRunning,   E::kGuestRebooted,   S::kStarting,  F::kStartKernel},
    {S::kRunning,   E::kKernelCrashed,   S::kExited,    F::kFinishCrashed},

    {S::kPaused,    E::kStopAsked,       S::kStopping,  F::kBeginStop},
    {S::kPaused,    E::kRebootAsked,     S::kRebooting, F::kBeginStop},
    {S::kPaused,    E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kPaused,    E::kPauseAsked,      S::kPaused,    F::kAlready},
    {S::kPaused,    E::kResumeAsked,     S::kPaused,    F::kThaw},
    {S::kPaused,    E::kThawed,          S::kRunning,   F::kAnnounce},
    {S::kPaused,    E::kGuestPoweredOff, S::kExited,    F::kFinishPoweredOff},
    {S::kPaused,    E::kGuestRebooted,   S::kStarting,  F::kStartKernel},
    {S::kPaused,    E::kKernelCrashed,   S::kExited,    F::kFinishCrashed},

    // However it ends now, it ends because it was asked to.
    {S::kStopping,  E::kStopAsked,       S::kStopping,  F::kShortenStop},
    {S::kStopping,  E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kStopping,  E::kGuestPoweredOff, S::kExited,    F::kFinishStopped},
    {S::kStopping,  E::kGuestRebooted,   S::kExited,    F::kFinishStopped},
    {S::kStopping,  E::kKernelCrashed,   S::kExited,    F::kFinishStopped},

    {S::kRebooting, E::kStopAsked,       S::kStopping,  F::kShortenStop},
    {S::kRebooting, E::kRebootAsked,     S::kRebooting, F::kShortenStop},
    {S::kRebooting, E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kRebooting, E::kGuestPoweredOff, S::kStarting,  F::kStartKernel},
    {S::kRebooting, E::kGuestRebooted,   S::kStarting,  F::kStartKernel},
    {S::kRebooting, E::kKernelCrashed,   S::kStarting,  F::kStartKernel},

    {S::kKilling,   E::kStopAsked,       S::kKilling,   F::kAlready},
    {S::kKilling,   E::kKillAsked,       S::kKilling,   F::kKillKernel},
    {S::kKilling,   E::kGuestPoweredOff, S::kExited,    F::kFinishKilled},
    {S::kKilling,   E::kGuestRebooted,   S::kExited,    F::kFinishKilled},
    {S::kKilling,   E::kKernelCrashed,   S::kExited,    F::kFinishKilled},
};
// clang-format on

bool IsRequest(LifeEvent event) {
  return event == E::kStopAsked || event == E::kRebootAsked || event == E::kKillAsked || event == E::kPauseAsked ||
         event == E::kResumeAsked;
}

}  // namespace

LifeStep NextStep(LifeState state, LifeEvent event) {
  for (const Row& row : kTable) {
    if (row.state == state && row.event == event) return {row.next, row.effect};
  }
  // What the table does not name: a request is refused; anything else comes too late to matter.
  return {state, IsRequest(event) ? F::kRefuse : F::kIgnore};
}

absl::string_view LifeStateName(LifeState state) {
  switch (state) {
    case S::kStarting:
      return "STARTING";
    case S::kRunning:
      return "RUNNING";
    case S::kPaused:
      return "PAUSED";
    case S::kStopping:
      return "STOPPING";
    case S::kRebooting:
      return "REBOOTING";
    case S::kKilling:
      return "KILLING";
    case S::kExited:
      return "EXITED";
  }
  return "?";
}

LifeEffect Lifecycle::On(LifeEvent event) {
  LifeStep step = NextStep(state_, event);
  state_ = step.next;
  return step.effect;
}

}  // namespace umld::vmcore
