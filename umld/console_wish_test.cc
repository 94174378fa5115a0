#include "umld/console_wish.h"

#include "gtest/gtest.h"

namespace umld {
namespace {

using devices::ConsoleDevice;

constexpr ConsoleDevice kCon0 = {false, 0}, kCon1 = {false, 1}, kCon2 = {false, 2}, kSsl0 = {true, 0};

TEST(ConsoleWish, WithoutARow) {
  const state::GuestRow row;
  EXPECT_EQ(WantedConsole(row, kCon0), "fd:0,fd:1");
  EXPECT_EQ(WantedConsole(row, kCon1), "fd:0,fd:1");
  EXPECT_EQ(WantedConsole(row, kCon2), "null");
  EXPECT_EQ(WantedConsole(row, kSsl0), "null");
  EXPECT_TRUE(HasConsoleDefault(row, kCon1));
  EXPECT_FALSE(HasConsoleDefault(row, kCon2));
  EXPECT_EQ(FindConsoleRow(row, "con0"), nullptr);
}

TEST(ConsoleWish, ALinesOwnRowGoesBeforeItsKinds) {
  state::GuestRow row;
  SetConsoleRow(&row, "con", "pts");
  SetConsoleRow(&row, "con2", "port:9000");
  EXPECT_EQ(WantedConsole(row, kCon0), "pts");
  EXPECT_EQ(WantedConsole(row, kCon2), "port:9000");
  EXPECT_EQ(WantedConsole(row, kSsl0), "null");
  EXPECT_TRUE(HasConsoleDefault(row, {false, 9}));
  EXPECT_FALSE(HasConsoleDefault(row, kSsl0));
  SetConsoleRow(&row, "con2", "none");
  EXPECT_EQ(WantedConsole(row, kCon2), "none");
  EXPECT_EQ(row.consoles.size(), 2U);
}

}  // namespace
}  // namespace umld
