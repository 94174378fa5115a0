#include "devices/console/console_spec.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Kind = ConsoleChannel::Kind;

ConsoleChannel Plain(Kind kind) { return {kind, 0, "", 0, ""}; }
ConsoleChannel Fd(uint32_t fd) { return {Kind::kFd, fd, "", 0, ""}; }
ConsoleChannel Port(const std::string& address, uint16_t port) { return {Kind::kPort, 0, address, port, ""}; }
ConsoleChannel Tty(const std::string& path) { return {Kind::kTty, 0, "", 0, path}; }
ConsoleSpec Con(uint32_t unit, const ConsoleChannel& in, const ConsoleChannel& out) { return {{false, unit}, in, out}; }
ConsoleSpec Con(uint32_t unit, const ConsoleChannel& both) { return Con(unit, both, both); }

std::string MessageOfError(const absl::Status& status, const std::string& text) {
  if (status.ok()) return "accepted";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_CONSOLE_SPEC");
  EXPECT_FALSE(GetErrorDetail(status).hint.empty()) << text;
  return std::string(status.message());
}

std::string MessageOf(const std::string& text) { return MessageOfError(ParseConsoleSpec(text).status(), text); }

TEST(ConsoleSpec, ReadsEverySpelling) {
  EXPECT_EQ(*ParseConsoleSpec("con0=none"), Con(0, Plain(Kind::kNone)));
  EXPECT_EQ(*ParseConsoleSpec("con1=null"), Con(1, Plain(Kind::kNull)));
  EXPECT_EQ(*ParseConsoleSpec("con15=fd:0"), Con(15, Fd(0)));
  EXPECT_EQ(*ParseConsoleSpec("con2=fd:1023"), Con(2, Fd(1023)));
  EXPECT_EQ(*ParseConsoleSpec("con2=pty"), Con(2, Plain(Kind::kPty)));
  EXPECT_EQ(*ParseConsoleSpec("con2=pts"), Con(2, Plain(Kind::kPts)));
  EXPECT_EQ(*ParseConsoleSpec("con2=port:1"), Con(2, Port("", 1)));
  EXPECT_EQ(*ParseConsoleSpec("con2=port:0.0.0.0:65535"), Con(2, Port("0.0.0.0", 65535)));
  EXPECT_EQ(*ParseConsoleSpec("con2=port:[::1]:9000"), Con(2, Port("::1", 9000)));
  EXPECT_EQ(*ParseConsoleSpec("con2=tty:/dev/tty6"), Con(2, Tty("/dev/tty6")));
  EXPECT_EQ(*ParseConsoleSpec("con2=xterm"), Con(2, Plain(Kind::kXterm)));
  EXPECT_EQ(*ParseConsoleSpec("con0=null,fd:7"), Con(0, Plain(Kind::kNull), Fd(7)));
  EXPECT_EQ(*ParseConsoleSpec("con0=tty:/a b,tty:/c=d"), Con(0, Tty("/a b"), Tty("/c=d")));
  EXPECT_EQ(*ParseConsoleSpec("con0=port:9000,port:9001"), Con(0, Port("", 9000), Port("", 9001)));
  EXPECT_EQ(*ParseConsoleSpec("con0=port:[::]:9000,port:9000"), Con(0, Port("::", 9000), Port("", 9000)));
  ConsoleSpec serial{{true, 63}, Fd(1), Fd(1)};
  EXPECT_EQ(*ParseConsoleSpec("ssl63=fd:1"), serial);
}

TEST(ConsoleSpec, TheSameChannelTwiceIsOne) {
  for (const char* channel :
       {"none", "null", "fd:3", "pty", "pts", "port:9000", "port:[::1]:9000", "tty:/t", "xterm"}) {
    auto twice = ParseConsoleSpec(absl::StrCat("con4=", channel, ",", channel));
    ASSERT_TRUE(twice.ok()) << twice.status();
    EXPECT_EQ(PrintConsoleSpec(*twice), absl::StrCat("con4=", channel));
  }
  EXPECT_EQ(PrintConsoleSpec(*ParseConsoleSpec("con4=port:[0:0::0:1]:9,port:[::1]:9")), "con4=port:[::1]:9");
}

TEST(ConsoleSpec, RefusesDevicesWithPositionAndReason) {
  EXPECT_THAT(MessageOf(""), HasSubstr("at position 1, a console's name begins with \"con\", a serial line's with"));
  EXPECT_THAT(MessageOf("tty0=pts"), HasSubstr("at position 1, a console's name begins with"));
  EXPECT_THAT(MessageOf("CON0=pts"), HasSubstr("at position 1, a console's name begins with"));
  EXPECT_THAT(MessageOf("con16=pts"), HasSubstr("at position 4, there is no console con16"));
  EXPECT_THAT(MessageOf("ssl64=pts"), HasSubstr("at position 4, there is no console ssl64"));
  EXPECT_THAT(MessageOf("con03=pts"), HasSubstr("at position 4, there is no console con03"));
  EXPECT_THAT(MessageOf("con00=pts"), HasSubstr("there is no console con00"));
  EXPECT_THAT(MessageOf("con99999999999999=pts"), HasSubstr("there is no console con9999"));
  EXPECT_THAT(MessageOf("console=tty0"), HasSubstr("at position 4, there is no console cons"));
  EXPECT_THAT(MessageOf("con-1=pts"), HasSubstr("at position 4, there is no console con-"));
  EXPECT_THAT(MessageOf("con"), HasSubstr("at position 4, '=' and a channel are missing"));
  EXPECT_THAT(MessageOf("con3"), HasSubstr("at position 5, '=' and a channel are missing"));
  EXPECT_THAT(MessageOf("con3 =pts"), HasSubstr("at position 5, there is something between the name and '='"));
  EXPECT_THAT(MessageOf("con3:pts"), HasSubstr("at position 5, there is something between"));
  EXPECT_THAT(MessageOf("con=pts"), HasSubstr("at position 4, the number of the line is missing: the running kernel "
                                              "says \"Can't configure all devices from mconsole\""));
}

TEST(ConsoleSpec, RefusesChannelsWithPositionAndReason) {
  EXPECT_EQ(MessageOf("con3=prt:9000"),
            "\"con3=prt:9000\" is not a console UML can use: at position 6, there is no channel \"prt\"");
  EXPECT_THAT(GetErrorDetail(ParseConsoleSpec("con3=prt").status()).hint,
              StartsWith("channels are none, null, fd:N, pty, pts, port:N"));
  EXPECT_THAT(MessageOf("con3="), HasSubstr("at position 6, the channel is empty"));
  EXPECT_THAT(MessageOf("con3=,fd:1"), HasSubstr("at position 6, the channel is empty"));
  EXPECT_THAT(MessageOf("con3=fd:1,"), HasSubstr("at position 11, the channel is empty"));
  EXPECT_THAT(MessageOf("con3=fd:1,fd:2,"), HasSubstr("at position 15, there is something after the channels"));
  EXPECT_THAT(MessageOf("con3=fd:1,prt"), HasSubstr("at position 11, there is no channel \"prt\""));
  EXPECT_THAT(MessageOf("con3=PTS"), HasSubstr("there is no channel \"PTS\""));
  EXPECT_THAT(MessageOf("con3=ptsx"), HasSubstr("there is no channel \"ptsx\""));
  EXPECT_THAT(MessageOf("con3= pts"), HasSubstr("there is no channel \" pts\""));
  EXPECT_THAT(MessageOf("con3=pts\n"), HasSubstr("there is no channel \"pts\\n\""));
  EXPECT_THAT(MessageOf("con3=" + std::string(70, 'a')), HasSubstr("channel \"" + std::string(20, 'a') + "\""));
  EXPECT_THAT(MessageOf("con3=fd"), HasSubstr("at position 8, \"fd\" lacks its ':'"));
  EXPECT_THAT(MessageOf("con3=port"), HasSubstr("at position 10, \"port\" lacks its ':'"));
  EXPECT_THAT(MessageOf("con3=tty"), HasSubstr("at position 9, \"tty\" lacks its ':'"));
  EXPECT_THAT(MessageOf("con3=null:"), HasSubstr("at position 10, \"null\" takes nothing after it"));
  EXPECT_THAT(MessageOf("con3=xterm:80"), HasSubstr("at position 11, \"xterm\" takes nothing after it"));
  EXPECT_THAT(MessageOf("con3=pts:/dev/pts/10"), HasSubstr("at position 9, UML chooses the pts itself; write pts"));
}

TEST(ConsoleSpec, RefusesBadParameters) {
  for (const char* fd : {"", "-1", "+1", "1024", "007", "00", "0x1", "1 ", "99999999999", "a", "1:2"}) {
    EXPECT_THAT(MessageOf(absl::StrCat("con3=fd:", fd)),
                HasSubstr("at position 9, the descriptor is not a number from 0 to 1023"));
  }
  for (const char* port : {"", "0", "-1", "65536", "080", "0x50", "http", "127.0.0.1"}) {
    EXPECT_THAT(MessageOf(absl::StrCat("con3=port:", port)),
                HasSubstr("at position 11, the port is not a number from 1 to 65535"));
  }
  EXPECT_THAT(MessageOf("con3=port:1.2.3.4:0"), HasSubstr("at position 19, the port is not a number"));
  EXPECT_THAT(MessageOf("con3=port:[::1]:"), HasSubstr("at position 17, the port is not a number"));
  EXPECT_THAT(MessageOf("con3=port::9000"), HasSubstr("at position 11, \"\" is not an IPv4 address"));
  EXPECT_THAT(MessageOf("con3=port:::1:9000"), HasSubstr("at position 11, \"::1\" is not an IPv4 address"));
  EXPECT_THAT(MessageOf("con3=port:localhost:1"), HasSubstr("\"localhost\" is not an IPv4 address"));
  EXPECT_THAT(MessageOf("con3=port:127.1:1"), HasSubstr("\"127.1\" is not an IPv4 address"));
  EXPECT_THAT(MessageOf(std::string("con3=port:1.2.3.4\0:1", 20)), HasSubstr("is not an IPv4 address"));
  EXPECT_THAT(MessageOf("con3=port:[1.2.3.4]:1"), HasSubstr("at position 12, \"1.2.3.4\" is not an IPv6 address"));
  EXPECT_THAT(MessageOf("con3=port:[fe80::1%lo]:1"), HasSubstr("is not an IPv6 address"));
  EXPECT_THAT(MessageOf("con3=port:[]:1"), HasSubstr("\"\" is not an IPv6 address"));
  EXPECT_THAT(MessageOf("con3=port:[::1"), HasSubstr("at position 15, the ']' after the IPv6 address is missing"));
  EXPECT_THAT(MessageOf("con3=port:[::1]9000"), HasSubstr("at position 16, ':' and a port are missing"));
  EXPECT_THAT(MessageOf("con3=tty:"), HasSubstr("at position 10, the path of the terminal is empty"));
  EXPECT_THAT(MessageOf("con3=tty:tty6"), HasSubstr("at position 10, the path of the terminal is not absolute"));
  EXPECT_THAT(MessageOf("con3=tty:/dev/a:b"), HasSubstr("at position 16, the path of the terminal contains ':'"));
  EXPECT_THAT(MessageOf("con3=tty:/a\"b"), HasSubstr("at position 12, the path of the terminal contains '\"'"));
  EXPECT_THAT(MessageOf("con3=tty:/a\n"), HasSubstr("contains the control character 10"));
  EXPECT_THAT(MessageOf("con3=fd:1,tty:/a\xff"), HasSubstr("at position 17, the path of the terminal is not valid"));
  EXPECT_THAT(MessageOf("con3=tty:/" + std::string(5000, 'a')), HasSubstr("has 5001 bytes, and the host allows 4095"));
}

TEST(ConsoleSpec, SomeChannelsServeBothDirectionsOrNone) {
  EXPECT_THAT(MessageOf("con3=none,fd:1"), HasSubstr("at position 6, \"none\" means that there is no such line"));
  EXPECT_THAT(MessageOf("con3=fd:1,none"), HasSubstr("at position 11, \"none\" means that there is no such line"));
  EXPECT_THAT(MessageOf("con3=xterm,null"),
              HasSubstr("at position 6, \"xterm\" cannot be only one direction: a window"));
  EXPECT_THAT(MessageOf("con3=null,xterm"), HasSubstr("at position 11, \"xterm\" cannot be only one direction"));
  EXPECT_THAT(MessageOf("con3=pty,pts"), HasSubstr("at position 6, \"pty\" cannot be only one direction: a terminal"));
  EXPECT_THAT(MessageOf("con3=null,pts"), HasSubstr("at position 11, \"pts\" cannot be only one direction"));
  EXPECT_THAT(MessageOf("con3=port:1,fd:1"), HasSubstr("at position 6, \"port\" cannot be only one direction"));
  EXPECT_THAT(MessageOf("con3=tty:/t,port:1"), HasSubstr("at position 13, \"port\" cannot be only one direction"));
  EXPECT_EQ(MessageOf("con3=port:1,port:2"), "accepted");
  EXPECT_EQ(MessageOf("con3=null,tty:/t"), "accepted");
}

TEST(ConsoleSpec, LengthIsWhatOneRequestCarries) {
  EXPECT_EQ(std::string("config ").size() + kMaxConsoleSpec, 511u);
  std::string prefix = "con3=tty:/";
  std::string fits = prefix + std::string(kMaxConsoleSpec - prefix.size(), 'a');
  EXPECT_EQ(MessageOf(fits), "accepted");
  EXPECT_THAT(MessageOf(fits + "a"), HasSubstr("it has 505 bytes, and a UML kernel takes at most 504 bytes"));
  EXPECT_LT(MessageOf(prefix + std::string(4000, 'a')).size(), 300u);
  // Fits the kernel, although it was typed too long.
  std::string path = "tty:/" + std::string(400, 'a');
  EXPECT_EQ(MessageOf(absl::StrCat("con3=", path, ",", path)), "accepted");
  EXPECT_THAT(MessageOf(absl::StrCat("con3=", path, ",", path, "b")), HasSubstr("it has 817 bytes"));
}

TEST(ConsoleAssignment, WithAndWithoutNumber) {
  EXPECT_EQ(*ParseConsoleAssignment("con=pts"),
            (ConsoleAssignment{false, std::nullopt, Plain(Kind::kPts), Plain(Kind::kPts)}));
  EXPECT_EQ(*ParseConsoleAssignment("ssl=null,fd:3"),
            (ConsoleAssignment{true, std::nullopt, Plain(Kind::kNull), Fd(3)}));
  EXPECT_EQ(*ParseConsoleAssignment("ssl0=fd:3"), (ConsoleAssignment{true, 0, Fd(3), Fd(3)}));
  EXPECT_FALSE(ParseConsoleAssignment("con16=pts").ok());
  auto bad = ParseConsoleAssignment("ssl=prt");
  EXPECT_THAT(MessageOfError(bad.status(), "ssl=prt"), HasSubstr("at position 5, there is no channel \"prt\""));
}

TEST(ConsoleChannels, ReadBothOrLeaveBothAlone) {
  ConsoleChannel in = Fd(8);
  ConsoleChannel out = Fd(9);
  EXPECT_THAT(MessageOfError(ParseConsoleChannels("fd:1,prt", &in, &out), "fd:1,prt"),
              HasSubstr("\"fd:1,prt\" is not a console UML can use: at position 6, there is no channel \"prt\""));
  EXPECT_EQ(in, Fd(8));
  EXPECT_EQ(out, Fd(9));
  ASSERT_TRUE(ParseConsoleChannels("null,fd:3", &in, &out).ok());
  EXPECT_EQ(in, Plain(Kind::kNull));
  EXPECT_EQ(out, Fd(3));
  ASSERT_TRUE(ParseConsoleChannels("tty:/t", &in, &out).ok());
  EXPECT_EQ(in, Tty("/t"));
  EXPECT_EQ(out, Tty("/t"));
  // What is accepted here fits every line, "ssl63=" too.
  std::string longest = "tty:/" + std::string(kMaxConsoleSpec - 6 - 5, 'a');
  EXPECT_TRUE(ParseConsoleChannels(longest, &in, &out).ok());
  EXPECT_TRUE(ParseConsoleSpec("ssl63=" + longest).ok());
  EXPECT_FALSE(ParseConsoleChannels(longest + "a", &in, &out).ok());
}

TEST(ConsoleName, ReadsAndPrints) {
  EXPECT_EQ(*ParseConsoleName("con3"), (ConsoleDevice{false, 3}));
  EXPECT_EQ(*ParseConsoleName("ssl12"), (ConsoleDevice{true, 12}));
  for (const char* text : {"", "c", "con", "ssl", "con=", "con16", "ssl64", "con03", "con3=pts", "con3 ", "CON3",
                           "ttyS0", "con4294967296", "conx"}) {
    auto device = ParseConsoleName(text);
    EXPECT_NE(MessageOfError(device.status(), text), "accepted") << text;
  }
  EXPECT_THAT(MessageOfError(ParseConsoleName("con").status(), "con"),
              HasSubstr("at position 4, the number of the line is missing"));
  for (uint32_t i = 0; i < kMaxConsoles; ++i) {
    EXPECT_EQ(*ParseConsoleName(ConsoleName({false, i})), (ConsoleDevice{false, i}));
  }
  for (uint32_t i = 0; i < kMaxSerialLines; ++i) {
    EXPECT_EQ(*ParseConsoleName(ConsoleName({true, i})), (ConsoleDevice{true, i}));
  }
}

TEST(ConsoleName, ConsolesComeFirst) {
  std::vector<ConsoleDevice> devices = {{true, 0}, {false, 10}, {true, 63}, {false, 2}};
  std::sort(devices.begin(), devices.end());
  EXPECT_EQ(devices, (std::vector<ConsoleDevice>{{false, 2}, {false, 10}, {true, 0}, {true, 63}}));
}

TEST(ConsoleSpec, Prints) {
  EXPECT_EQ(PrintConsoleSpec(Con(3, Port("", 9000))), "con3=port:9000");
  EXPECT_EQ(PrintConsoleSpec({{true, 12}, Fd(0), Fd(1)}), "ssl12=fd:0,fd:1");
  EXPECT_EQ(PrintConsoleValue(Fd(0), Fd(1)), "fd:0,fd:1");
  EXPECT_EQ(PrintConsoleValue(Fd(1), Fd(1)), "fd:1");
  EXPECT_EQ(PrintConsoleChannel(Port("10.0.0.1", 80)), "port:10.0.0.1:80");
  EXPECT_EQ(PrintConsoleChannel(Port("::1", 80)), "port:[::1]:80");
  EXPECT_EQ(PrintConsoleChannel(Tty("/dev/tty6")), "tty:/dev/tty6");
  EXPECT_EQ(PrintConsoleChannel({}), "none");
}

// Fixed seeds: a failure can be run again.
ConsoleChannel RandomChannel(std::mt19937& random, Kind kind) {
  auto below = [&random](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
  const std::vector<std::string> addresses = {"", "0.0.0.0", "127.0.0.1", "::", "::1", "fe80::1:2", "::ffff:1.2.3.4"};
  const std::string letters = "abcXYZ019._-+=/ ~#%'$*?[](){}";
  switch (kind) {
    case Kind::kFd:
      return Fd(below(kMaxConsoleFd + 1));
    case Kind::kPort:
      return Port(addresses[below(static_cast<uint32_t>(addresses.size()))], static_cast<uint16_t>(1 + below(65535)));
    case Kind::kTty: {
      std::string path = below(2) == 0 ? "/" : "/\xc3\xa9";
      for (uint32_t i = below(40); i > 0; --i) path += letters[below(static_cast<uint32_t>(letters.size()))];
      return Tty(path);
    }
    default:
      return Plain(kind);
  }
}

ConsoleSpec RandomSpec(std::mt19937& random) {
  auto below = [&random](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
  const std::vector<Kind> one_way = {Kind::kNull, Kind::kFd, Kind::kTty};
  auto kind = static_cast<Kind>(below(static_cast<uint32_t>(Kind::kXterm) + 1));
  ConsoleSpec spec;
  spec.device.serial = below(2) == 0;
  spec.device.unit = below(spec.device.serial ? kMaxSerialLines : kMaxConsoles);
  spec.in = RandomChannel(random, kind);
  spec.out = below(2) == 0 ? spec.in : RandomChannel(random, kind);
  if (below(3) == 0) {
    spec.in = RandomChannel(random, one_way[below(3)]);
    spec.out = RandomChannel(random, one_way[below(3)]);
  }
  return spec;
}

TEST(ConsoleSpecProperty, ParseUndoesPrint) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    ConsoleSpec spec = RandomSpec(random);
    std::string printed = PrintConsoleSpec(spec);
    auto parsed = ParseConsoleSpec(printed);
    ASSERT_TRUE(parsed.ok()) << parsed.status() << " " << printed;
    ASSERT_EQ(*parsed, spec) << printed;
    ConsoleChannel in;
    ConsoleChannel out;
    ASSERT_TRUE(ParseConsoleChannels(PrintConsoleValue(spec.in, spec.out), &in, &out).ok()) << printed;
    ASSERT_TRUE(in == spec.in && out == spec.out) << printed;
  }
}

TEST(ConsoleSpecProperty, GarbageIsRefusedOrFits) {
  std::mt19937 random(2);
  // Whole words beside single bytes, so that some of it is right.
  const std::vector<std::string> parts = {
      "con", "ssl",  "3",   "0",  "=",  ",",    ":",    "fd:", "pts",
      "pty", "port", "tty", "/t", "[",  "]",    "::1",  "1.2", "none",
      "nul", "null", "x",   "\"", "\n", "\xff", "\xc3", " ",   std::string(1, '\0')};
  int accepted = 0;
  for (int i = 0; i < 200000; ++i) {
    std::string text = i % 4 == 0 ? "" : i % 4 == 1 ? "con" : i % 4 == 2 ? "con3=" : "ssl1=port:";
    for (size_t n = std::uniform_int_distribution<size_t>(0, 8)(random); n > 0; --n) {
      text += parts[std::uniform_int_distribution<size_t>(0, parts.size() - 1)(random)];
    }
    auto assignment = ParseConsoleAssignment(text);
    auto spec = ParseConsoleSpec(text);
    ASSERT_EQ(spec.ok(), assignment.ok() && assignment->unit.has_value()) << text;
    if (!spec.ok()) continue;
    ++accepted;
    ASSERT_LE(PrintConsoleSpec(*spec).size(), kMaxConsoleSpec) << text;
    ASSERT_EQ(*ParseConsoleSpec(PrintConsoleSpec(*spec)), *spec) << text;
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace umld::devices
