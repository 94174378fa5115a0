#include "base/process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(Process, IdentityTellsAReusedPidApart) {
  ProcessIdentity self = *IdentifyProcess(getpid());
  EXPECT_TRUE(IsAlive(self));
  EXPECT_TRUE(OpenProcess(self).ok());
  ++self.start_ticks;
  EXPECT_FALSE(IsAlive(self));
  EXPECT_EQ(OpenProcess(self).status().code(), absl::StatusCode::kNotFound);
}

TEST(Process, AZombieIsNotAlive) {
  Child child = *Spawn({.argv = {"true"}, .environment = {}, .fds = {}});
  ASSERT_TRUE(WaitForExit(child.pidfd.get(), std::chrono::seconds(10)));
  EXPECT_FALSE(IsAlive({child.pid, IdentifyProcess(child.pid)->start_ticks}));
  EXPECT_EQ(StateOf(child.pid), 'Z');
  EXPECT_EQ(StateOf(getpid()), 'R');
  waitpid(child.pid, nullptr, 0);
  EXPECT_EQ(StateOf(child.pid), '?');
}

TEST(Process, ChildrenAreThoseOfAllThreads) {
  const Child mine = *Spawn({.argv = {"sleep", "60"}, .environment = {}, .fds = {}});
  std::promise<pid_t> spawned;
  std::promise<void> looked;
  // While its thread is there a child is that one's; then it becomes another's.
  std::thread other([&] {
    spawned.set_value(Spawn({.argv = {"sleep", "60"}, .environment = {}, .fds = {}})->pid);
    looked.get_future().wait();
  });
  const pid_t theirs = spawned.get_future().get();
  EXPECT_THAT(ChildrenOf(getpid()), UnorderedElementsAre(mine.pid, theirs));
  EXPECT_THAT(ChildrenOf(mine.pid), IsEmpty());
  looked.set_value();
  other.join();
  for (pid_t child : {mine.pid, theirs}) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_THAT(ChildrenOf(child), IsEmpty()) << "it is gone";
  }
}

TEST(Process, RunCommandGivesOutputAndExitCode) {
  CommandResult result = *RunCommand({"sh", "-c", "echo out; echo err >&2; exit 3"}, std::chrono::seconds(10));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "out\nerr\n");
  EXPECT_EQ(RunCommand({"/nonexistent/program"}, std::chrono::seconds(1)).status().code(), absl::StatusCode::kNotFound);
}

TEST(Process, RunCommandKillsWhatTakesTooLong) {
  EXPECT_EQ(RunCommand({"sleep", "60"}, std::chrono::milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(Process, ChildHasOnlyTheFdsItWasGiven) {
  int leak[2];
  ASSERT_EQ(pipe(leak), 0);  // not CLOEXEC on purpose
  CommandResult result = *RunCommand({"sh", "-c", "ls /proc/self/fd | wc -l"}, std::chrono::seconds(10));
  EXPECT_EQ(result.output, "4\n");  // 0, 1, 2 and ls's own folder
  close(leak[0]);
  close(leak[1]);
}

}  // namespace
}  // namespace umld
