// Where consoles and serial lines go: pts, ports, terminals, null and none, set while the guest runs and while the line
// is open inside; and recordings.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A port that nobody has at this moment.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

class Channels : public SharedHost {
 protected:
  // What `umlctl config` answers, without the newline.
  static std::string Config(const std::string& device) {
    const CommandResult asked = host_->Run({"config", "web1", device});
    EXPECT_TRUE(Ok(asked));
    return std::string(absl::StripSuffix(asked.out, "\n"));
  }
  static void Plug(const std::string& spec, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"plug", "web1", spec};
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_TRUE(Ok(host_->Run(words)));
  }
  // A shell without a password on a line of the guest, as /dev/tty2.
  static void ShellOn(const std::string& device) {
    EXPECT_EQ(host_->RunInGuest("web1", absl::StrCat("(setsid getty -n -i -l /bin/sh 38400 ", device, " &)")).exit_code,
              0);
  }
  // A program of the host, on pipes or on a terminal of its own.
  static std::unique_ptr<Running> Beside(std::vector<std::string> argv, Running::On on = Running::On::kPipes) {
    return Running::Start(host_->MakeCommand(std::move(argv)), on);
  }
  // Types at a shell and waits for its answer. The quotes keep the echo of what was typed from being taken for it.
  static bool Answers(Running& shell, const std::string& word) {
    return WaitFor([&] {
      shell.Write(absl::StrCat("echo ", word.substr(0, 2), "''", word.substr(2), "\n"));
      return shell.ReadUntil(word, absl::Seconds(2));
    });
  }
};

TEST_F(Channels, WithoutAWord) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(Config("con0"), "fd:0,fd:1");
  EXPECT_EQ(Config("con1"), "fd:0,fd:1");
  EXPECT_EQ(Config("con2"), "null");
  EXPECT_EQ(Config("ssl63"), "null");
}

// The kernel's mconsole answers before its consoles are set up: what came in between was lost, or made it panic.
TEST_F(Channels, RightAfterEachStart) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  for (int boot = 1; boot <= 5; ++boot) {
    SCOPED_TRACE(boot);
    Plug("ssl0=fd:0,fd:1", {"--live-only"});
    Plug("con3=pts", {"--live-only"});
    EXPECT_THAT(Config("con3"), StartsWith("pts:/dev/pts/"));
    ASSERT_EQ(host_->RunInGuest("web1", "echo heard >/dev/ttyS0").exit_code, 0);
    EXPECT_TRUE(WaitFor([&] {
      const std::string heard = host_->Run({"logs", "web1", "ssl0"}).out;
      return absl::c_count(absl::StrSplit(heard, '\n'), "heard\r") +
                 absl::c_count(absl::StrSplit(heard, '\n'), "heard") ==
             boot;
    }));
    ASSERT_TRUE(Ok(host_->Run({"reboot", "web1", "--now"})));
  }
}

TEST_F(Channels, APtsIsForAnyTerminalProgram) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  Plug("con2=pts");
  const std::string reported = Config("con2");
  ASSERT_THAT(reported, StartsWith("pts:/dev/pts/"));
  ShellOn("tty2");
  std::unique_ptr<Running> screen = Beside({"socat", "-", reported.substr(4) + ",raw,echo=0"});
  EXPECT_TRUE(Answers(*screen, "ptsworks")) << screen->out() << screen->err();
  // The same line, looked at by umlctl.
  std::unique_ptr<Running> viewer = host_->RunBeside({"console", "web1", "con2"}, Running::On::kTerminal);
  EXPECT_TRUE(viewer->ReadUntil("ptsworks")) << viewer->out();
  EXPECT_TRUE(Answers(*viewer, "bothwork"));
  EXPECT_TRUE(screen->ReadUntil("bothwork"));
  EXPECT_THAT(host_->Run({"logs", "web1", "con2"}).out, HasSubstr("bothwork"));
}

TEST_F(Channels, APortIsForTelnetAndForNetcat) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string port = absl::StrCat(FreePort());
  Plug("con3=port:" + port);
  EXPECT_EQ(Config("con3"), "port:" + port);
  EXPECT_EQ(host_->RunInGuest("web1", "(setsid getty 38400 tty3 &)").exit_code, 0);
  // A login by the real telnet client, with all its negotiation.
  std::unique_ptr<Running> telnet = Beside({"telnet", "127.0.0.1", port}, Running::On::kTerminal);
  ASSERT_TRUE(telnet->ReadUntil("login: ")) << telnet->out();
  EXPECT_TRUE(LogIn(*telnet, kPatience)) << telnet->out();
  int exit_code = -1;
  std::string out;
  EXPECT_TRUE(RunAtPrompt(*telnet, "tty", kPatience, &exit_code, &out));
  EXPECT_EQ(out, "/dev/tty3\n");
  // Its window is the guest's.
  telnet->Resize(41, 133);
  EXPECT_TRUE(WaitFor([&] {
    RunAtPrompt(*telnet, "stty size", kPatience, &exit_code, &out);
    return out == "41 133\n";
  })) << out;
  // It leaves, and the session is there for the next one.
  telnet.reset();
  std::unique_ptr<Running> netcat = Beside({"socat", "-", "TCP:127.0.0.1:" + port});
  EXPECT_TRUE(Answers(*netcat, "netcatworks")) << netcat->out();
  // Loopback alone: there is no password but the guest's.
  const CommandResult listening = host_->Shell("ss -Hltn sport = :" + port);
  EXPECT_THAT(listening.out, HasSubstr("127.0.0.1:" + port));
}

TEST_F(Channels, ChangeWhileTheLineIsOpenInside) {
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--con", "con2=pts"}));
  ShellOn("tty2");
  std::unique_ptr<Running> shell = host_->RunBeside({"console", "web1", "con2"}, Running::On::kTerminal);
  ASSERT_TRUE(Answers(*shell, "begun"));
  shell->Write("WORD=kept\n");
  ASSERT_TRUE(Answers(*shell, "then"));
  const std::string port = absl::StrCat(FreePort());
  for (const std::string& channel :
       {std::string("null"), "port:" + port, std::string("null,fd:1"), std::string("xterm"), "port:" + port}) {
    Plug("con2=" + channel);
    EXPECT_EQ(Config("con2"), channel);
  }
  std::unique_ptr<Running> netcat = Beside({"socat", "-", "TCP:127.0.0.1:" + port});
  shell.reset();  // the one that writes
  EXPECT_TRUE(WaitFor([&] {
    netcat->Write("echo $WORD$WORD\n");
    return netcat->ReadUntil("keptkept", absl::Seconds(2));
  })) << netcat->out();
  // A change that fails leaves what was there.
  EXPECT_TRUE(
      Refused(host_->Run({"plug", "web1", "con2=tty:/dev/null"}), kUsage, {"con2", "/dev/null is no terminal"}));
  EXPECT_EQ(Config("con2"), "port:" + port);
  EXPECT_TRUE(Answers(*netcat, "stillhere"));
}

TEST_F(Channels, ATerminalOfTheHost) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string link = host_->Work("terminal");
  std::unique_ptr<Running> terminal = Beside({"socat", "-", "PTY,raw,echo=0,link=" + link});
  ASSERT_TRUE(WaitFor([&] { return access(link.c_str(), F_OK) == 0; }));
  Plug("ssl0=tty:" + link);
  EXPECT_EQ(Config("ssl0"), "tty:" + link);
  ShellOn("ttyS0");
  EXPECT_TRUE(Answers(*terminal, "serialworks")) << terminal->out();
}

TEST_F(Channels, NullNoneAndBack) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  // null is a line that leads nowhere; none is no line.
  EXPECT_EQ(host_->RunInGuest("web1", "test -c /dev/tty4 && echo lost >/dev/tty4").exit_code, 0);
  Plug("con4=none");
  EXPECT_EQ(Config("con4"), "none");
  EXPECT_EQ(host_->RunInGuest("web1", "test -e /dev/tty4").exit_code, 1);
  Plug("con4=fd:0,fd:1");
  EXPECT_EQ(host_->RunInGuest("web1", "test -c /dev/tty4 && echo found >/dev/tty4").exit_code, 0);
  EXPECT_TRUE(WaitFor([] { return absl::StrContains(host_->Run({"logs", "web1", "con4"}).out, "found"); }));
  // What is open inside cannot be taken away; what is not, can.
  ShellOn("tty4");
  std::unique_ptr<Running> shell = host_->RunBeside({"console", "web1", "con4"}, Running::On::kTerminal);
  ASSERT_TRUE(Answers(*shell, "open"));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "con4"}), kWrongState, {"con4", "it is open inside the guest"}));
  shell->Write("exit\n");
  EXPECT_TRUE(shell->ReadUntil("exit"));
  EXPECT_TRUE(WaitFor([] { return host_->Run({"unplug", "web1", "con4"}).exit_code == 0; }));
  EXPECT_TRUE(shell->Wait().has_value());
  EXPECT_EQ(Config("con4"), "none");
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "con4"}), kNotFound, {"web1", "no con4"}));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "con0"}), kUsage, {"con0 takes the kernel's own messages"}));
}

TEST_F(Channels, ArePartOfTheConfiguration) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string port = absl::StrCat(FreePort());
  Plug("con3=port:" + port);
  Plug("ssl1=pts");
  Plug("ssl2=pts", {"--live-only"});
  // Over a restart of the guest's kernel, of umld, and of everything.
  EXPECT_TRUE(Ok(host_->Run({"reboot", "web1", "--now"})));
  EXPECT_EQ(Config("con3"), "port:" + port);
  EXPECT_THAT(Config("ssl1"), StartsWith("pts:/dev/pts/"));
  EXPECT_EQ(Config("ssl2"), "null");
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(Config("con3"), "port:" + port);
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1", "--now"})));
  EXPECT_EQ(Config("con3"), "port:" + port);
  EXPECT_EQ(Config("ssl1"), "pts");
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ssl1"})));
  Plug("con=pts");
  EXPECT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(Config("con3"), "port:" + port);
  EXPECT_THAT(Config("con15"), StartsWith("pts:/dev/pts/"));
  EXPECT_EQ(Config("ssl1"), "null");
  // A line of its own has precedence, and is forgotten by unplug in favour of nothing, not of the default.
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "con5"})));
  EXPECT_EQ(Config("con5"), "none");
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1", "--now"})));
  EXPECT_EQ(Config("con5"), "none");
  EXPECT_EQ(Config("con6"), "pts");
}

TEST_F(Channels, APortGoesOnWithoutUmld) {
  const std::string port = absl::StrCat(FreePort());
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--con", "con2=port:" + port}));
  ShellOn("tty2");
  std::unique_ptr<Running> netcat = Beside({"socat", "-", "TCP:127.0.0.1:" + port});
  ASSERT_TRUE(Answers(*netcat, "before"));
  host_->Kill9();
  EXPECT_TRUE(Answers(*netcat, "without"));
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(Answers(*netcat, "after"));
}

TEST_F(Channels, TheStockToolSetsThem) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string port = absl::StrCat(FreePort());
  EXPECT_THAT(host_->UmlMconsole({"web1", "config con0"}).out, HasSubstr("OK fd:0,fd:1"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config con3=port:" + port}).out, HasSubstr("OK"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config con3"}).out, HasSubstr("OK port:" + port));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config con16=pts"}).out, HasSubstr("ERR"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "remove con3"}).out, HasSubstr("OK"));
  EXPECT_THAT(host_->UmlMconsole({"web1", "config con3"}).out, HasSubstr("OK none"));
}

TEST_F(Channels, BadInputIsNamedAndChangesNothing) {
  const std::string port = absl::StrCat(FreePort());
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--con", "con2=port:" + port}));
  const Json before = host_->Describe("web1");
  struct Case {
    std::string spec;
    Exit code;
    std::string text;
  };
  const std::string fifo = host_->Work("fifo");
  EXPECT_TRUE(Ok(host_->Shell("mkfifo " + fifo)));
  for (const Case& bad :
       {Case{"con16=pts", kUsage, "there is no console con16"}, Case{"con3=slirp", kUsage, "there is no channel"},
        Case{"con3=fd:9", kUsage, "inherits no descriptor 9"}, Case{"con3=port:0", kUsage, "the port is not a number"},
        Case{"con3=port:" + port, kWrongState, "port " + port + " of 127.0.0.1 is in use"},
        Case{"con3=port:192.0.2.7:9000", kUsage, "192.0.2.7 is no address of this host"},
        Case{"con3=tty:" + fifo, kUsage, "is no terminal"}, Case{"con3=tty:/dev/nothing", kNotFound, "/dev/nothing"},
        Case{"con3=pts,null", kUsage, "a terminal is both"},
        Case{"con0=none", kUsage, "con0 takes the kernel's own messages"},
        Case{"con=pts", kWrongState, "takes no default"}, Case{"con3=", kUsage, "con3"}}) {
    EXPECT_TRUE(Refused(host_->Run({"plug", "web1", bad.spec}), bad.code, {bad.text})) << bad.spec;
  }
  EXPECT_TRUE(Refused(host_->Run({"console", "web1", "con9"}), kNotFound, {"web1", "con9"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web2", "--con", "con3=fd:9"}), kUsage, {"descriptor 9"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web2", "--con", "con3=pts", "--con", "con3=null"}), kUsage, {"twice"}));
  EXPECT_EQ(host_->Describe("web1")["consoles"], before["consoles"]);
  EXPECT_EQ(host_->Describe("web1")["etag"], before["etag"]);
  // A guest whose port is taken says so instead of starting without it.
  EXPECT_TRUE(Ok(host_->Run({"create", "web2", "--image", "tiny", "--mem", "64M", "--con", "con2=port:" + port})));
  const CommandResult refused = host_->Run({"start", "web2"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("console con2: port " + port + " of 127.0.0.1 is in use"));
}

TEST_F(Channels, AllSparesUsedIsSaid) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  for (const char* spec : {"con2=pts", "con3=pts", "con4=pts", "con5=pts"}) Plug(spec);
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "con6=pts"}), kBusyOrExists, {"con6", "spare terminals"}));
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "con4"})));
  Plug("con6=pts");
  // Stopped, there is no such limit.
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1", "--now"})));
  Plug("con4=pts");
  EXPECT_TRUE(Ok(host_->Run({"start", "web1"})));
  Plug("con7=pts");
}

TEST_F(Channels, ARecordingPlays) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string cast = host_->Work("web1.cast");
  std::unique_ptr<Running> recorder =
      host_->RunBeside({"console", "record", "web1", "con1", cast, "--input", "--title", "a class"});
  ASSERT_TRUE(WaitFor([&] { return access(cast.c_str(), F_OK) == 0; }));
  ASSERT_TRUE(WaitFor([&] { return host_->Describe("web1")["consoles"][1]["viewers"] == 1; }));
  EXPECT_EQ(host_->RunInGuest("web1", "echo recor''ded").out, "recorded\n");
  recorder->Signal(SIGINT);
  EXPECT_EQ(recorder->Wait(), 0) << recorder->err();
  std::unique_ptr<Running> player =
      Beside({"/usr/bin/env", "LC_ALL=C.UTF-8", "asciinema", "play", "-s", "1000", cast}, Running::On::kTerminal);
  EXPECT_TRUE(player->ReadUntil("recorded")) << player->out();
  EXPECT_EQ(player->Wait(), 0) << player->out();
  const std::string file = host_->Shell("cat " + cast).out;
  EXPECT_THAT(file, StartsWith("{\"version\": 2, "));
  EXPECT_THAT(file, HasSubstr("\"title\": \"a class\""));
  EXPECT_THAT(file, HasSubstr("\"i\", \""));
  // Never over what is there, and never for what is not.
  EXPECT_TRUE(Refused(host_->Run({"console", "record", "web1", "con1", cast}), kBusyOrExists, {"there already"}));
  const std::string none = host_->Work("none.cast");
  EXPECT_TRUE(Refused(host_->Run({"console", "record", "web9", "con1", none}), kNotFound, {"web9"}));
  EXPECT_TRUE(Refused(host_->Run({"console", "record", "web1", "con9", none}), kNotFound, {"web1", "con9"}));
  EXPECT_NE(access(none.c_str(), F_OK), 0);
  // The guest's end is the recording's.
  std::unique_ptr<Running> last = host_->RunBeside({"console", "record", "web1", "con1", none, "--max-size", "64K"});
  ASSERT_TRUE(WaitFor([&] { return host_->Describe("web1")["consoles"][1]["viewers"] == 1; }));
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1", "--now"})));
  EXPECT_EQ(last->Wait(), 0) << last->err();
}

TEST_F(Channels, AWindowOfTheUsersOwn) {
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--con", "con2=xterm"}));
  EXPECT_EQ(Config("con2"), "xterm");
  // What a terminal emulator does with its arguments, without a display.
  const std::string emulator = host_->Work("emulator");
  EXPECT_TRUE(Ok(host_->Shell(absl::StrCat("printf '#!/bin/sh\\necho \"title $2\"\\nshift 3\\nexec \"$@\"\\n' >",
                                           emulator, "; chmod 755 ", emulator))));
  ShellOn("tty2");
  Command command = host_->MakeCommand({host_->Program("umlctl"), "console", "web1", "con2", "--xterm"});
  EXPECT_TRUE(Refused(host_->Run({"console", "web1", "con2", "--xterm"}), kWrongState, {"no display"}));
  command.environment.push_back("DISPLAY=:99");
  command.environment.push_back("TERMINAL=" + emulator);
  std::unique_ptr<Running> window = Running::Start(command, Running::On::kTerminal);
  EXPECT_TRUE(window->ReadUntil("title web1 con2")) << window->out();
  EXPECT_TRUE(Answers(*window, "windowworks")) << window->out();
}

}  // namespace
}  // namespace umld::tests
