#include "vmcore/lifecycle.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace umld::vmcore {
namespace {

using S = LifeState;
using E = LifeEvent;
using F = LifeEffect;

constexpr std::array<S, kLifeStates> kStates = {S::kStarting,  S::kRunning, S::kPaused, S::kStopping,
                                                S::kRebooting, S::kKilling, S::kExited};
constexpr std::array<E, kLifeEvents> kEvents = {E::kMconsoleUp,      E::kStopAsked,     E::kRebootAsked,  E::kKillAsked,
                                                E::kPauseAsked,      E::kFrozen,        E::kResumeAsked,  E::kThawed,
                                                E::kGuestPoweredOff, E::kGuestRebooted, E::kKernelCrashed};

// Every event in every state. Rows are states and columns events, in the order above; a cell is the next state's
// number, and the effect's letter: i ignore, R refuse, a already, A announce, B begin stop, S shorten, K kill,
// f freeze, t thaw, N next kernel, P powered off, T stopped, L killed, C crashed.
constexpr const char* kExpected[kLifeStates] = {
    /* starting  */ "1A 3B 4B 5K 0R 0i 0R 0i 6C 6C 6C",
    /* running   */ "1i 3B 4B 5K 1f 2A 1a 1i 6P 0N 6C",
    /* paused    */ "2i 3B 4B 5K 2a 2i 2t 1A 6P 0N 6C",
    /* stopping  */ "3i 3S 3R 5K 3R 3i 3R 3i 6T 6T 6T",
    /* rebooting */ "4i 3S 4S 5K 4R 4i 4R 4i 0N 0N 0N",
    /* killing   */ "5i 5a 5R 5K 5R 5i 5R 5i 6L 6L 6L",
    /* exited    */ "6i 6R 6R 6R 6R 6i 6R 6i 6i 6i 6i",
};

char Letter(F effect) {
  switch (effect) {
    case F::kIgnore:
      return 'i';
    case F::kRefuse:
      return 'R';
    case F::kAlready:
      return 'a';
    case F::kAnnounce:
      return 'A';
    case F::kBeginStop:
      return 'B';
    case F::kShortenStop:
      return 'S';
    case F::kKillKernel:
      return 'K';
    case F::kFreeze:
      return 'f';
    case F::kThaw:
      return 't';
    case F::kStartKernel:
      return 'N';
    case F::kFinishPoweredOff:
      return 'P';
    case F::kFinishStopped:
      return 'T';
    case F::kFinishKilled:
      return 'L';
    case F::kFinishCrashed:
      return 'C';
  }
  return '?';
}

TEST(LifecycleTest, EveryEventInEveryState) {
  for (int s = 0; s < kLifeStates; ++s) {
    for (int e = 0; e < kLifeEvents; ++e) {
      LifeStep step = NextStep(kStates[s], kEvents[e]);
      std::string got = std::to_string(static_cast<int>(step.next)) + Letter(step.effect);
      EXPECT_EQ(got, std::string(kExpected[s] + 3 * e, 2)) << LifeStateName(kStates[s]) << ", event " << e;
    }
  }
}

TEST(LifecycleTest, StartsStartingAndFollowsTheTable) {
  Lifecycle lifecycle;
  EXPECT_EQ(lifecycle.state(), S::kStarting);
  EXPECT_EQ(lifecycle.On(E::kMconsoleUp), F::kAnnounce);
  EXPECT_EQ(lifecycle.state(), S::kRunning);
  EXPECT_EQ(lifecycle.On(E::kGuestRebooted), F::kStartKernel);
  EXPECT_EQ(lifecycle.state(), S::kStarting);
  EXPECT_EQ(lifecycle.On(E::kStopAsked), F::kBeginStop);
  EXPECT_EQ(lifecycle.On(E::kKernelCrashed), F::kFinishStopped);
  EXPECT_EQ(lifecycle.state(), S::kExited);
}

}  // namespace
}  // namespace umld::vmcore
