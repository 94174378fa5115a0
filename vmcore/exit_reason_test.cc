#include "vmcore/exit_reason.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <string>

namespace umld::vmcore {
namespace {

// Wait statuses as waitpid gives them.
KernelEnd Exited(int code) {
  KernelEnd end;
  end.wait_status = code << 8;
  return end;
}
KernelEnd Killed(int signal_number) {
  KernelEnd end;
  end.wait_status = signal_number;
  return end;
}

TEST(ExitReasonTest, TheGuestsLastWordsTellHowItEnded) {
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "x\r\nreboot: Power down\r\n").kind, EndKind::kPoweredOff);
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "reboot: System halted\n").kind, EndKind::kPoweredOff);
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "reboot: Restarting system\n").kind, EndKind::kRebooted);
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "[    3.1] reboot: Restarting system\n").kind, EndKind::kRebooted);
  // mconsole's halt says nothing.
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "guest init up\n").kind, EndKind::kPoweredOff);
  // The last one counts.
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "reboot: Power down\nreboot: Restarting system\n").kind,
            EndKind::kRebooted);
  EXPECT_EQ(ClassifyEnd(Exited(0), true, "", "reboot: Restarting system\nreboot: System halted\n").kind,
            EndKind::kPoweredOff);
}

TEST(ExitReasonTest, AForbiddenSystemCallIsNamed) {
  // The guest is killed for it with its init, which reports nothing then.
  KernelEnd end;
  end.init_wait_status = SIGKILL;
  end.forbidden_call = "unshare(0x10000000, 0x0, 0x0, ...)";
  ExitReason reason = ClassifyEnd(end, true, "", "reboot: Power down\n");
  EXPECT_EQ(reason.kind, EndKind::kCrashed);
  EXPECT_EQ(
      reason.reason,
      "killed: the kernel made a system call that its seccomp filter forbids: unshare(0x10000000, 0x0, 0x0, ...)");
}

TEST(ExitReasonTest, AnExitCodeOfTheGuestsOwnIsNoCrash) {
  ExitReason reason = ClassifyEnd(Exited(42), true, "", "reboot: Power down\n");
  EXPECT_EQ(reason.kind, EndKind::kPoweredOff);
  EXPECT_EQ(reason.exit_code, 42);
}

TEST(ExitReasonTest, AnExitCodeWithoutWordsIsACrash) {
  ExitReason reason = ClassifyEnd(Exited(1), true, "", "guest init up\n");
  EXPECT_EQ(reason.kind, EndKind::kCrashed);
  EXPECT_EQ(reason.reason, "the kernel exited with code 1");
}

TEST(ExitReasonTest, APanicIsToldInItsWords) {
  ExitReason reason = ClassifyEnd(Killed(SIGABRT), true, "VFS: Unable to mount root fs", "");
  EXPECT_EQ(reason.kind, EndKind::kCrashed);
  EXPECT_EQ(reason.reason, "Kernel panic - not syncing: VFS: Unable to mount root fs");
  EXPECT_EQ(reason.signal, SIGABRT);
  // When the notification got lost, con0 has it.
  reason = ClassifyEnd(Killed(SIGABRT), true, "",
                       "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\nCPU: 0 PID: 1\r\n");
  EXPECT_EQ(reason.reason, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100");
}

TEST(ExitReasonTest, ASignalHasAName) {
  EXPECT_EQ(ClassifyEnd(Killed(SIGKILL), true, "", "hello\n").reason, "killed by signal 9 (SIGKILL)");
  EXPECT_EQ(SignalName(SIGTERM), "SIGTERM");
  EXPECT_EQ(SignalName(99), "signal 99");
}

TEST(ExitReasonTest, AFailedStartIsToldInTheKernelsLastWords) {
  ExitReason reason = ClassifyEnd(Exited(1), false, "", "Checking PROT_EXEC mmap in /tmp...\r\nfailed\r\n\r\n");
  EXPECT_EQ(reason.kind, EndKind::kCrashed);
  EXPECT_EQ(reason.reason, "the kernel ended before it was up (exit code 1): failed");
  // A clean exit is a failure too when nothing had started.
  EXPECT_EQ(ClassifyEnd(Exited(0), false, "", "").reason, "the kernel ended before it was up (exit code 0)");
}

TEST(ExitReasonTest, WhatVmcoreCouldNotStart) {
  KernelEnd end;
  end.failed_step = "run the kernel";
  end.failed_errno = ENOENT;
  end.wait_status = 1 << 8;
  EXPECT_EQ(ClassifyEnd(end, false, "", "").reason, "run the kernel: No such file or directory");
}

TEST(ExitReasonTest, AnInitKilledFromOutside) {
  KernelEnd end;
  end.init_wait_status = SIGKILL;
  EXPECT_EQ(ClassifyEnd(end, true, "", "").reason, "the guest's init process was ended from outside, by SIGKILL");
}

TEST(ExitReasonTest, CleanLinesCarryNothingDangerous) {
  EXPECT_EQ(OneCleanLine("\x1b[31mred\x1b[0m\a \xff\xfe ok"), "red  ok");
  EXPECT_EQ(OneCleanLine("\x1b["), "");
  EXPECT_EQ(OneCleanLine("   "), "");
  EXPECT_EQ(OneCleanLine(std::string(1000, 'x')).size(), 300U);
}

}  // namespace
}  // namespace umld::vmcore
