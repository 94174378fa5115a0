#include "vmcore/console_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"

namespace umld::vmcore {
namespace {

using testing::HasSubstr;

v1::GuestConfig Config(const std::vector<std::pair<std::string, std::string>>& consoles) {
  v1::GuestConfig config;
  for (const auto& [device, channels] : consoles) {
    config.add_consoles()->set_device(device);
    config.mutable_consoles()->rbegin()->set_channels(channels);
  }
  return config;
}

std::string Lines(const v1::GuestConfig& config) {
  auto lines = ConsoleLines(config);
  if (!lines.ok()) return std::string(lines.status().message());
  return absl::StrJoin(
      *lines, " ", [](std::string* out, const devices::ConsoleSpec& line) { *out += devices::PrintConsoleSpec(line); });
}

std::string Arguments(const v1::GuestConfig& config) {
  auto lines = ConsoleLines(config);
  return lines.ok() ? absl::StrJoin(ConsoleArguments(*lines), " ") : std::string(lines.status().message());
}

TEST(ConsoleLayoutTest, TwoConsolesWithoutAWord) {
  EXPECT_EQ(Lines(Config({})), "con0=fd:0,fd:1 con1=fd:0,fd:1");
  EXPECT_EQ(Arguments(Config({})), "con0=fd:0 con1=fd:3 con=null ssl=null");
}

TEST(ConsoleLayoutTest, TheKernelLearnsTerminalsNullAndNone) {
  auto config = Config({{"ssl2", "pts"}, {"con3", "port:9000"}, {"con1", "null"}, {"con4", "none"}});
  EXPECT_EQ(Lines(config), "con0=fd:0,fd:1 con3=port:9000 con4=none ssl2=pts");
  EXPECT_EQ(Arguments(config), "con0=fd:0 con3=fd:3 con4=none ssl2=fd:4 con=null ssl=null");
}

TEST(ConsoleLayoutTest, Con0AlwaysHasItsTerminal) {
  EXPECT_EQ(Lines(Config({{"con0", "null"}})), "con0=null con1=fd:0,fd:1");
  EXPECT_EQ(Arguments(Config({{"con0", "null"}})), "con0=fd:0 con1=fd:3 con=null ssl=null");
  EXPECT_THAT(Lines(Config({{"con0", "none"}})), HasSubstr("con0 takes the kernel's own messages"));
  EXPECT_THAT(Lines(Config({{"con", "none"}})), HasSubstr("con0 takes the kernel's own messages"));
}

TEST(ConsoleLayoutTest, ADefaultIsForAllThatAreNotNamed) {
  auto config = Config({{"con", "pts"}, {"con0", "fd:0,fd:1"}, {"con2", "null"}});
  auto lines = *ConsoleLines(config);
  EXPECT_EQ(lines.size(), 15U);
  EXPECT_THAT(Lines(config), testing::StartsWith("con0=fd:0,fd:1 con1=pts con3=pts con4=pts"));
  EXPECT_EQ(ConsoleLines(Config({{"ssl", "pts"}}))->size(), 66U);
  EXPECT_EQ(Lines(Config({{"con", "null"}})), "con0=null");
}

TEST(ConsoleLayoutTest, RefusesWhatCannotBe) {
  EXPECT_THAT(Lines(Config({{"con3", "pts"}, {"con3", "null"}})), HasSubstr("con3 is given twice"));
  EXPECT_THAT(Lines(Config({{"con", "pts"}, {"con", "null"}})), HasSubstr("con is given twice"));
  EXPECT_THAT(Lines(Config({{"con16", "pts"}})), HasSubstr("there is no console con16"));
  EXPECT_THAT(Lines(Config({{"con3", "slirp"}})), HasSubstr("slirp"));
}

}  // namespace
}  // namespace umld::vmcore
