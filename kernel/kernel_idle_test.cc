#include "kernel/kernel_idle.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "gtest/gtest.h"

namespace umld::kernel {
namespace {

// A process that does as a kernel's does. It goes with this object, and its child with it.
class Stand {
 public:
  explicit Stand(const std::function<void()>& run) : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    run();
    _exit(1);
  }
  ~Stand() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Stand(const Stand&) = delete;
  Stand& operator=(const Stand&) = delete;

  ProcessIdentity identity() const { return IdentifyProcess(pid_).value_or(ProcessIdentity{}); }
  // Within a second.
  bool BecomesIdle() const {
    for (int i = 0; i < 100; ++i) {
      if (IsIdle(identity()).value_or(false)) return true;
      usleep(10000);
    }
    return false;
  }

 private:
  pid_t pid_;
};

void WithChild(void (*run)()) {
  if (fork() != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  run();
}

void Suspend() {
  sigset_t none;
  sigemptyset(&none);
  while (true) sigsuspend(&none);
}

void Spin() {
  while (true) sched_yield();
}

TEST(KernelIdle, InTheIdleLoopWithNothingBesideIt) {
  EXPECT_TRUE(Stand(Suspend).BecomesIdle());
  // A child that waits for work.
  EXPECT_TRUE(Stand([] {
                WithChild([] { pause(); });
                Suspend();
              }).BecomesIdle());
}

TEST(KernelIdle, NotWhileAnythingRuns) {
  EXPECT_FALSE(Stand(Spin).BecomesIdle());
  EXPECT_FALSE(Stand([] { sleep(60); }).BecomesIdle()) << "it waits for something else";
  EXPECT_FALSE(Stand([] {
                 WithChild(Spin);
                 Suspend();
               }).BecomesIdle())
      << "its child runs";
}

TEST(KernelIdle, NotOneThatHasGone) {
  EXPECT_FALSE(IsIdle({}).value_or(true));
  EXPECT_FALSE(IsIdle({getpid(), 1}).value_or(true));
  const Stand stand(Suspend);
  ASSERT_TRUE(stand.BecomesIdle());
  ProcessIdentity another = stand.identity();
  ++another.start_ticks;
  EXPECT_FALSE(IsIdle(another).value_or(true));
}

}  // namespace
}  // namespace umld::kernel
