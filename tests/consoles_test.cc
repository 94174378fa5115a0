// Consoles: what they show, who may look and type, and that neither a slow nor a vanished viewer costs the guest.
#include <signal.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernel/kernel_idle.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Consoles : public SharedHost {
 protected:
  void SetUp() override {
    SharedHost::SetUp();
    ASSERT_TRUE(host_->CreateAndStart("web1"));
  }

  // A person at a terminal, logged in.
  static std::unique_ptr<Running> Person(const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"console", "web1", "--history", "0"};
    words.insert(words.end(), more.begin(), more.end());
    std::unique_ptr<Running> console = host_->RunBeside(words, Running::On::kTerminal);
    EXPECT_TRUE(LogIn(*console, kPatience)) << console->out();
    return console;
  }

  static std::string RunAt(Running& console, const std::string& command) {
    int exit_code = -1;
    std::string out;
    EXPECT_TRUE(RunAtPrompt(console, command, kPatience, &exit_code, &out)) << console.out();
    return out;
  }

  static int Viewers(const std::string& console) {
    const Json guest = host_->Describe("web1");
    for (const Json& found : guest["consoles"]) {
      if (absl::EndsWith(found["name"].get<std::string>(), "/" + console)) return found["viewers"];
    }
    return -1;
  }

  // Text of `size` bytes, in lines as a person pastes them.
  static std::string Text(size_t size) {
    std::mt19937 random(size);
    std::string text;
    while (text.size() < size) {
      const bool ends = text.size() % 73 == 72 || text.size() + 1 == size;
      text += ends ? '\n' : static_cast<char>('!' + random() % 90);
    }
    return text;
  }
};

TEST_F(Consoles, Con0HasTheKernelsWordsFromTheFirstLineAndCon1TheLogin) {
  const std::string login = host_->RunInGuest("web1", "echo logged in").out;
  EXPECT_EQ(login, "logged in\n");
  const std::string con0 = host_->Run({"logs", "web1"}).out, con1 = host_->Run({"logs", "web1", "con1"}).out;
  // What UML prints before its own console works: the limits, then its checks, then the kernel proper.
  EXPECT_THAT(con0, StartsWith("Core dump limits"));
  const size_t checking = con0.find("\nChecking that ptrace"), version = con0.find("\nLinux version");
  EXPECT_NE(checking, std::string::npos) << con0;
  EXPECT_NE(version, std::string::npos) << con0;
  EXPECT_LT(checking, version);
  EXPECT_THAT(con0, AllOf(HasSubstr("VFS: Mounted root"), Not(HasSubstr("login:"))));
  EXPECT_THAT(con1, AllOf(HasSubstr("web1 login:"), HasSubstr("logged in"), Not(HasSubstr("Linux version"))));
  EXPECT_EQ(host_->Run({"logs", "web1", "con0"}).out.substr(0, con0.size()), con0);
  // The file that describe names is what logs prints.
  const std::string path = host_->Describe("web1")["consoles"][1]["log_path"];
  EXPECT_THAT(host_->Shell("cat " + path).out, StartsWith(con1));
  EXPECT_EQ(host_->Run({"logs", "web1", "--tail", "2"}).out,
            host_->Shell("tail -n 2 " + absl::StrReplaceAll(path, {{"con1", "con0"}})).out);
}

TEST_F(Consoles, SeveralViewersOfWhomOneWrites) {
  std::unique_ptr<Running> first = Person();
  std::unique_ptr<Running> looker = host_->RunBeside({"console", "web1", "--read-only", "--linger", "1h"});
  std::unique_ptr<Running> second = host_->RunBeside({"console", "web1"}, Running::On::kTerminal);
  ASSERT_TRUE(second->ReadUntil("somebody else writes here")) << second->out();
  ASSERT_TRUE(WaitFor([] { return Viewers("con1") == 3; })) << host_->Run({"describe", "web1"});
  EXPECT_EQ(RunAt(*first, "echo to all of you"), "to all of you\n");
  EXPECT_TRUE(looker->ReadUntil("\nto all of you")) << looker->out();
  EXPECT_TRUE(second->ReadUntil("\nto all of you")) << second->out();
  // The second one's keys go nowhere.
  second->Write("touch /root/by-second\n");
  second->ReadUntil("by-second", absl::Seconds(1));
  EXPECT_EQ(RunAt(*first, "ls /root/by-second; echo done"), "ls: /root/by-second: No such file or directory\ndone\n");
  // Until somebody takes over.
  std::unique_ptr<Running> third = Person({"--take-over"});
  EXPECT_EQ(RunAt(*third, "echo mine now"), "mine now\n");
  EXPECT_TRUE(first->ReadUntil("\nmine now")) << first->out();
}

TEST_F(Consoles, DetachesAndLeavesTheTerminalAsItWas) {
  const Command command = host_->MakeCommand(
      {"/bin/sh", "-c", host_->Program("umlctl") + " console web1; echo \"exit code: $?\"; stty -a"});
  std::unique_ptr<Running> terminal = Running::Start(command, Running::On::kTerminal);
  ASSERT_TRUE(LogIn(*terminal, kPatience)) << terminal->out();
  // ^C is the guest's, not ours.
  // A shell between its own fork and exec loses a ^C; what is in front here has said so itself.
  terminal->Write("sh -c 'echo sl\"eeping\"; exec sleep 1000'\n");
  ASSERT_TRUE(terminal->ReadUntil("sleeping\r\n")) << terminal->out();
  terminal->Write("\x03");
  ASSERT_TRUE(terminal->ReadUntil(AtPrompt)) << terminal->out();
  EXPECT_EQ(RunAt(*terminal, "echo interrupted"), "interrupted\n");
  terminal->Write("\x1d");
  EXPECT_EQ(terminal->Wait(), 0);
  EXPECT_THAT(terminal->out(), AllOf(HasSubstr("detached"), HasSubstr("exit code: 0"), ContainsRegex(" icanon"),
                                     ContainsRegex(" echo ")));
  // The login outlives its viewer.
  EXPECT_TRUE(WaitFor([] { return Viewers("con1") == 0; }));
  std::unique_ptr<Running> again = host_->RunBeside({"console", "web1", "--history", "0"});
  again->Write("\n");
  EXPECT_TRUE(again->ReadUntil(AtPrompt)) << again->out();
  EXPECT_THAT(again->out(), Not(HasSubstr("login:")));
}

TEST_F(Consoles, TheWindowsSizeGoesAlong) {
  std::unique_ptr<Running> person = Person();
  EXPECT_EQ(RunAt(*person, "stty size"), "24 80\n");
  person->Resize(50, 132);
  EXPECT_TRUE(WaitFor([&] { return RunAt(*person, "stty size") == "50 132\n"; })) << person->out();
}

TEST_F(Consoles, APasteOf30KilobytesArrivesWhole) {
  const std::string text = Text(30 * 1024);
  for (const Running::On on : {Running::On::kPipes, Running::On::kTerminal}) {
    SCOPED_TRACE(on == Running::On::kPipes ? "from a pipe" : "at a terminal");
    std::unique_ptr<Running> console = host_->RunBeside({"console", "web1", "--take-over", "--history", "0"}, on);
    ASSERT_TRUE(LogIn(*console, kPatience)) << console->out();
    console->Write("rm -f /tmp/paste; stty -echo; echo re\"ady\"; cat > /tmp/paste; stty echo\n");
    ASSERT_TRUE(console->ReadUntil("ready\r\n")) << console->out();
    console->Write(text + "\x04");
    ASSERT_TRUE(console->ReadUntil(AtPrompt)) << console->out();
    EXPECT_EQ(RunAt(*console, "wc -c < /tmp/paste"), absl::StrCat(text.size(), "\n"));
    const CommandResult sum = RunToEnd(host_->MakeCommand({"md5sum"}), text);
    EXPECT_EQ(RunAt(*console, "md5sum < /tmp/paste"), sum.out);
  }
  // It went in as the guest had time for it, which vmcore could see: not a piece a second.
  const Json guest = host_->Describe("web1");
  const absl::StatusOr<ProcessIdentity> kernel = IdentifyProcess(guest["processes"].value("kernel_pid", 0));
  ASSERT_TRUE(kernel.ok()) << guest;
  EXPECT_TRUE(WaitFor([&] { return kernel::IsIdle(*kernel).value_or(false); })) << kernel::IsIdle(*kernel).status();
  const std::string log = guest["consoles"][1].value("log_path", "");
  const std::string own_log = host_->Shell(absl::StrCat("cat $(dirname ", log, ")/vmcore.log")).out;
  EXPECT_THAT(own_log, AllOf(HasSubstr("STARTING -> RUNNING"), Not(HasSubstr("goes in slowly"))));
}

TEST_F(Consoles, ASlowViewerHoldsNobodyUp) {
  std::unique_ptr<Running> slow = host_->RunBeside({"console", "web1", "--read-only", "--linger", "1h"});
  ASSERT_TRUE(WaitFor([] { return Viewers("con1") == 1; }));
  slow->Signal(SIGSTOP);
  // Far more than any buffer on the way.
  {
    std::unique_ptr<Running> reader = host_->RunBeside({"console", "web1", "--take-over", "--history", "0"});
    ASSERT_TRUE(LogIn(*reader, kPatience)) << reader->out();
    const std::string printed = RunAt(*reader, "yes 0123456789abcdef0123456789abcdef | head -c 1500000; echo end");
    EXPECT_THAT(printed, testing::EndsWith("end\n"));
    // On a busy host this one may be slow, too; then it is told how much it has missed, and that is all.
    size_t skipped = 0;
    for (const absl::string_view note : absl::StrSplit(reader->err(), "note: ")) {
      size_t bytes = 0;
      if (absl::StrContains(note, "bytes were skipped") && absl::SimpleAtoi(note.substr(0, note.find(' ')), &bytes)) {
        skipped += bytes;
      }
    }
    // What was skipped counts the terminal's carriage returns, one for each line of 33.
    EXPECT_LE(printed.size(), 1500000u + 4);
    EXPECT_GE(printed.size() + skipped, 1500000u + 4);
    EXPECT_LE(printed.size() + skipped, 1500000u + 4 + skipped / 34 + 2);
  }
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  slow->Signal(SIGCONT);
  // It is told what it has missed, and then sees the present.
  EXPECT_EQ(host_->RunInGuest("web1", "echo pre\"sent\"").out, "present\n");
  EXPECT_TRUE(slow->ReadUntil("\npresent")) << slow->out().size();
  EXPECT_THAT(slow->err(), HasSubstr("bytes were skipped"));
}

TEST_F(Consoles, WhatItSaidBeforeIsShownHoweverLongThatTakes) {
  EXPECT_EQ(host_->RunInGuest("web1", "echo here").out, "here\n");
  const pid_t supervisor = host_->Describe("web1")["processes"]["supervisor_pid"];
  ASSERT_EQ(kill(supervisor, SIGSTOP), 0);
  std::unique_ptr<Running> looker = host_->RunBeside({"console", "web1", "--read-only"});
  looker->CloseInput();
  // Longer than the silence after which it leaves.
  EXPECT_FALSE(looker->ReadUntil("web1 login:", absl::Seconds(3)));
  ASSERT_EQ(kill(supervisor, SIGCONT), 0);
  EXPECT_EQ(looker->Wait(), kOk) << looker->err();
  EXPECT_THAT(looker->out(), HasSubstr("web1 login:"));
}

TEST_F(Consoles, AViewerThatVanishesCostsNothing) {
  for (int i = 0; i < 5; ++i) {
    std::unique_ptr<Running> person = host_->RunBeside({"console", "web1", "--take-over"}, Running::On::kTerminal);
    ASSERT_TRUE(WaitFor([] { return Viewers("con1") == 1; }));
    person->Signal(SIGKILL);
    EXPECT_EQ(person->Wait(), 128 + SIGKILL);
    EXPECT_TRUE(WaitFor([] { return Viewers("con1") == 0; })) << "a dead viewer is still counted";
  }
  EXPECT_EQ(host_->RunInGuest("web1", "echo fine").out, "fine\n");
}

TEST_F(Consoles, BytesPassAsTheyAre) {
  std::unique_ptr<Running> console = host_->RunBeside({"console", "web1", "--history", "0"});
  ASSERT_TRUE(LogIn(*console, kPatience));
  EXPECT_EQ(RunAt(*console, "printf '\\377\\001\\303\\244\\033[7m|'; echo"), "\xff\x01\xc3\xa4\033[7m|\n");
}

TEST_F(Consoles, LogsFollowThroughReboots) {
  std::unique_ptr<Running> follower = host_->RunBeside({"logs", "-f", "web1"});
  auto boots_seen = [](const std::string& text) {
    return std::vector<std::string>(absl::StrSplit(text, "\nLinux version")).size() - 1;
  };
  ASSERT_TRUE(follower->ReadUntil([&](const std::string& out) { return boots_seen(out) == 1; })) << follower->err();
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"})));
  EXPECT_TRUE(follower->ReadUntil([&](const std::string& out) { return boots_seen(out) == 2; })) << follower->out();
  // And through a stop and a start.
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_TRUE(follower->ReadUntil([&](const std::string& out) { return boots_seen(out) == 3; })) << follower->out();
  EXPECT_FALSE(follower->HasEnded());
  // Once more from the file: the same, nothing twice, nothing lost.
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  const std::string logs = host_->Run({"logs", "web1"}).out;
  EXPECT_TRUE(follower->ReadUntil([&](const std::string& out) { return out.size() >= logs.size(); }));
  EXPECT_EQ(follower->out(), logs);
}

TEST_F(Consoles, EndsWithTheGuest) {
  std::unique_ptr<Running> person = Person();
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_EQ(person->Wait(), kOk) << person->out();
  EXPECT_THAT(person->out(), HasSubstr("the console has ended"));
  EXPECT_TRUE(Refused(host_->Run({"console", "web1"}), kWrongState, {"web1", "not running", "start"}));
  // What it said can still be read.
  EXPECT_THAT(host_->Run({"logs", "web1", "con1"}).out, HasSubstr("web1 login:"));
}

TEST_F(Consoles, ThoseThatAreNotThere) {
  EXPECT_TRUE(Refused(host_->Run({"console", "web1", "con7"}), kNotFound, {"web1", "con7", "con1"}));
  EXPECT_TRUE(Refused(host_->Run({"console", "nobody"}), kNotFound, {"nobody"}));
  EXPECT_TRUE(Refused(host_->Run({"logs", "web1", "con7"}), kNotFound, {"web1", "con7"}));
  EXPECT_TRUE(Refused(host_->Run({"logs", "nobody"}), kNotFound, {"nobody"}));
}

}  // namespace
}  // namespace umld::tests
