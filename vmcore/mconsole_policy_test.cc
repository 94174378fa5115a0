#include "vmcore/mconsole_policy.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace umld::vmcore {
namespace {

TEST(MconsolePolicyTest, MostCommandsArePassedOn) {
  for (const char* command : {"version", "help", "cad", "log hello", "proc uptime", "stack 1", "sysrq", "sysrq s",
                              "config ubda", "config mem", "config con3", "config eth0", ""}) {
    auto judged = JudgeRawCommand(command, false);
    ASSERT_TRUE(judged.ok()) << command;
    EXPECT_EQ(*judged, RawCommand::kPassOn) << command;
  }
}

TEST(MconsolePolicyTest, CommandsOfStateBecomeRequests) {
  // By prefix, as the kernel reads them.
  EXPECT_EQ(*JudgeRawCommand("stop", false), RawCommand::kPause);
  EXPECT_EQ(*JudgeRawCommand("stopped?", false), RawCommand::kPause);
  EXPECT_EQ(*JudgeRawCommand("go", false), RawCommand::kResume);
  EXPECT_EQ(*JudgeRawCommand("halt", false), RawCommand::kHalt);
  EXPECT_EQ(*JudgeRawCommand("reboot", false), RawCommand::kReboot);
  EXPECT_EQ(*JudgeRawCommand("STOP", false), RawCommand::kPassOn);
}

TEST(MconsolePolicyTest, TheDeadlySysrqNeedsForce) {
  for (const char* command : {"sysrq t", "sysrqt", "sysrq   t"}) {
    EXPECT_EQ(JudgeRawCommand(command, false).status().code(), absl::StatusCode::kFailedPrecondition) << command;
    EXPECT_TRUE(JudgeRawCommand(command, true).ok()) << command;
  }
}

TEST(MconsolePolicyTest, DevicesGoThroughPlug) {
  for (const char* command :
       {"config ubdb=/x", "configubdb=/x", "config  ubd1r=/x,,s", "remove ubdb", "remove  ubd1", "config mem=-10M",
        "config con3=pts", "config  ssl0=null", "remove con3", "remove mem", "config\tvec0:transport=raw,ifname=eth0",
        "configeth0=tuntap", "remove eth0", "removevec0"}) {
    absl::Status status = JudgeRawCommand(command, true).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << command;
    EXPECT_EQ(GetErrorDetail(status).reason, "USE_PLUG");
  }
}

}  // namespace
}  // namespace umld::vmcore
