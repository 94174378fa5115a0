// The stock uml_mconsole against managed guests: the same words, the same answers, and every change is umld's to know.
#include <signal.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class Bridge : public SharedHost {
 protected:
  // What uml_mconsole prints for web1.
  static std::string Say(const std::vector<std::string>& words, const std::string& folder = "") {
    std::vector<std::string> argv = {"web1"};
    argv.insert(argv.end(), words.begin(), words.end());
    return host_->UmlMconsole(argv, folder).out;
  }
  // The same, for commands that it must refuse.
  static CommandResult Refusal(const std::vector<std::string>& words) {
    std::vector<std::string> argv = {"web1"};
    argv.insert(argv.end(), words.begin(), words.end());
    const CommandResult result = host_->UmlMconsole(argv);
    EXPECT_EQ(result.exit_code, 1) << result;
    return result;
  }
  static void MakeDisk(const std::string& name) {
    ASSERT_TRUE(Ok(host_->Run({"disk", "create", name, "--size", "4M"})));
  }
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }
};

TEST_F(Bridge, VersionAndHelp) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_THAT(Say({"version"}), ContainsRegex("^OK Linux web1 [0-9]+\\.[0-9]+\\.[0-9]+ .*x86_64"));
  EXPECT_THAT(Say({"version"}), HasSubstr(host_->Describe("web1")["kernel_version"].get<std::string>()));
  const std::string help = Say({"help"});
  for (const char* command :
       {"version", "halt", "reboot", "config <dev>", "remove <dev>", "sysrq", "cad", "stop", "go"}) {
    EXPECT_THAT(help, HasSubstr(command));
  }
}

TEST_F(Bridge, WordsForDebuggingAreVerbsToo) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  // What sysrq and stack print goes through a console that the kernel registers last of all.
  ASSERT_EQ(host_->RunInGuest("web1", "true").exit_code, 0);
  EXPECT_THAT(host_->Run({"proc", "web1", "meminfo"}).out, ContainsRegex("MemTotal: +[0-9]+ kB"));
  EXPECT_THAT(host_->Run({"sysrq", "web1", "m"}).out, HasSubstr("Mem-Info:"));
  EXPECT_THAT(host_->Run({"stack", "web1", "1"}).out, HasSubstr("Call Trace:"));
  EXPECT_TRUE(Refused(host_->Run({"proc", "web1", "nonsense"}), kSaidNo, {"web1", "Failed to open file"}));
  EXPECT_TRUE(Refused(host_->Run({"stack", "web1", "31999"}), kSaidNo, {"web1", "Couldn't find that pid"}));
  EXPECT_TRUE(Refused(host_->Run({"sysrq", "web1", "t"}), kWrongState, {"web1", "panic"}));
  EXPECT_TRUE(Refused(host_->Run({"proc", "nobody", "meminfo"}), kNotFound, {"nobody"}));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
}

TEST_F(Bridge, APlugIsCheckedPersistedAndShown) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  // Relative to where uml_mconsole is called, which is neither umld's folder nor the kernel's.
  ASSERT_TRUE(Ok(host_->Shell("mkdir inner")));
  MakeDisk("inner/swap");
  EXPECT_EQ(Say({"config", "ubdb"}), "OK \n");
  EXPECT_EQ(Say({"config", "ubdb=swap"}, host_->Work("inner")), "OK \n");
  EXPECT_EQ(Say({"config", "ubdb"}), "OK " + host_->Work("inner/swap") + "\n");
  const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
  EXPECT_EQ(disk["path"], host_->Work("inner/swap"));
  EXPECT_EQ(disk["plugged"], true);
  EXPECT_EQ(disk["persistent"], true);
  EXPECT_EQ(host_->RunInGuest("web1", "cat /sys/block/ubdb/size").out, "8192\n");
  ASSERT_TRUE(Ok(host_->Run({"reboot", "--now", "web1"})));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /sys/block/ubdb/size").out, "8192\n");
  EXPECT_EQ(Say({"config", "ubdb"}), "OK " + host_->Work("inner/swap") + "\n");
  EXPECT_EQ(Say({"remove", "ubdb"}), "OK \n");
  EXPECT_TRUE(DiskOf(host_->Describe("web1"), "ubdb").is_null());
  EXPECT_NE(host_->RunInGuest("web1", "test -e /sys/block/ubdb").exit_code, 0);
}

TEST_F(Bridge, RefusalsSayWhyAndChangeNothing) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  MakeDisk("disk");
  MakeDisk("theirs");
  ASSERT_TRUE(Ok(host_->Run({"plug", "web2", "ubdb=theirs"})));
  ASSERT_TRUE(Ok(host_->Shell("mkfifo fifo; mkdir folder")));
  const Json before = host_->Describe("web1");
  EXPECT_THAT(Refusal({"nonsense"}).out, StartsWith("ERR Unknown command"));
  EXPECT_THAT(Refusal({"config", "ubdb=missing"}).out, AllOf(StartsWith("ERR "), HasSubstr("missing does not exist")));
  // The kernel itself would hang for ever on this one.
  EXPECT_THAT(Refusal({"config", "ubdb=fifo"}).out, AllOf(StartsWith("ERR "), HasSubstr("FIFO")));
  EXPECT_THAT(Refusal({"config", "ubdb=folder"}).out, HasSubstr("directory"));
  EXPECT_THAT(Refusal({"config", "ubdb=/dev/null"}).out, HasSubstr("/dev/null"));
  EXPECT_THAT(Refusal({"config", "ubdb=theirs"}).out, HasSubstr("web2"));
  EXPECT_THAT(Refusal({"config", "ubda=disk"}).out, HasSubstr("ubda"));
  EXPECT_THAT(Refusal({"config", "ubdq=disk"}).out, HasSubstr("ubdq"));
  EXPECT_THAT(Refusal({"remove", "ubdc"}).out, HasSubstr("ubdc"));
  EXPECT_THAT(Refusal({"sysrq", "t"}).out, HasSubstr("panic"));
  EXPECT_EQ(host_->Describe("web1"), before);
  EXPECT_THAT(Say({"version"}), StartsWith("OK Linux"));

  EXPECT_EQ(Say({"config", "ubdb=disk"}), "OK \n");
  ASSERT_EQ(host_->RunInGuest("web1", "mkswap /dev/ubdb && swapon /dev/ubdb").exit_code, 0);
  EXPECT_THAT(Refusal({"remove", "ubdb"}).out, AllOf(StartsWith("ERR "), HasSubstr("swapoff")));
  EXPECT_THAT(host_->RunInGuest("web1", "cat /proc/swaps").out, HasSubstr("/dev/ubdb"));
}

TEST_F(Bridge, StopAndGoPauseAndResume) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(Say({"stop"}), "OK stopped\n");
  EXPECT_EQ(host_->State("web1"), "PAUSED");
  EXPECT_THAT(Say({"version"}), StartsWith("OK Linux"));
  EXPECT_EQ(Say({"go"}), "OK \n");
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_EQ(host_->RunInGuest("web1", "echo alive").out, "alive\n");
}

TEST_F(Bridge, CadRebootsInOrder) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(host_->RunInGuest("web1", "echo kept > /root/note").exit_code, 0);
  EXPECT_EQ(Say({"cad"}), "OK \n");
  ASSERT_TRUE(WaitFor([] {
    const Json guest = host_->Describe("web1");
    return guest["boots"] == 2 && guest["state"] == "RUNNING";
  })) << host_->Run({"describe", "web1"});
  EXPECT_EQ(host_->RunInGuest("web1", "cat /root/note").out, "kept\n");
}

TEST_F(Bridge, HaltStopsAndRebootReboots) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_EQ(Say({"reboot"}), "OK \n");
  ASSERT_TRUE(WaitFor([] {
    const Json guest = host_->Describe("web1");
    return guest["boots"] == 2 && guest["state"] == "RUNNING";
  })) << host_->Run({"describe", "web1"});
  EXPECT_EQ(Say({"halt"}), "OK \n");
  ASSERT_TRUE(host_->WaitForState("web1", "STOPPED"));
  EXPECT_EQ(host_->Describe("web1")["wanted_running"], false);
  // Nothing answers for it any more, and nothing lies about.
  ASSERT_TRUE(WaitFor([] { return FilesUnder(host_->mconsole_dir()).empty(); }));
  EXPECT_NE(host_->UmlMconsole({"web1", "version"}).exit_code, 0);
}

TEST_F(Bridge, ServesManyAtOnceAndOnlyItsUser) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  struct stat folder = {}, socket = {};
  ASSERT_EQ(stat((host_->mconsole_dir() + "/web1").c_str(), &folder), 0);
  ASSERT_EQ(stat((host_->mconsole_dir() + "/web1/mconsole").c_str(), &socket), 0);
  EXPECT_EQ(folder.st_mode & 0777, 0700u);
  EXPECT_EQ(socket.st_mode & 0777, 0600u);
  // Whoever reaches the socket rules the guest, and the API's is no different.
  EXPECT_EQ(host_->Shell("stat -c %a " + host_->socket()).out, "600\n");
  const CommandResult many = host_->Shell(
      "for c in 1 2 3 4 5 6; do (for n in 1 2 3 4 5 6 7 8; do uml_mconsole web1 version; done) & done; wait");
  size_t answers = 0;
  for (size_t at = many.out.find("OK Linux web1"); at != std::string::npos;
       at = many.out.find("OK Linux web1", at + 1)) {
    ++answers;
  }
  EXPECT_EQ(answers, 48u) << many;
}

TEST_F(Bridge, InteractiveMode) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  MakeDisk("swap");
  const std::unique_ptr<Running> tool =
      Running::Start(host_->MakeCommand({"/usr/bin/uml_mconsole", "web1"}), Running::On::kTerminal);
  ASSERT_TRUE(tool->ReadUntil("(web1) ")) << tool->out();
  for (const auto& [typed, answer] :
       std::vector<std::pair<std::string, std::string>>{{"version", "OK Linux web1"},
                                                        {"config con0", "OK fd:0,fd:1"},
                                                        {"config ubdb=swap", "OK"},
                                                        {"config ubdb", "OK " + host_->Work("swap")},
                                                        {"proc uptime", "OK"},
                                                        {"nonsense", "ERR"},
                                                        {"remove ubdb", "OK"}}) {
    const size_t before = tool->out().size();
    tool->Write(typed + "\n");
    EXPECT_TRUE(tool->ReadUntil([&, &want = answer](const std::string& out) {
      const std::string news = out.substr(before);
      return absl::StrContains(news, want) && absl::EndsWith(out, "(web1) ");
    })) << typed
        << "\n"
        << tool->out();
  }
  tool->Write("quit\n");
  EXPECT_EQ(tool->Wait(), 0);
}

TEST_F(Bridge, RepliesOfManyFragmentsAndClientsThatDoNotRead) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  // What sysrq prints goes through a console that the kernel registers last of all.
  ASSERT_EQ(host_->RunInGuest("web1", "true").exit_code, 0);
  const CommandResult asked = host_->Shell(absl::StrCat(R"(python3 - <<'END'
import socket, struct
path = ')",
                                                        host_->mconsole_dir(), R"(/web1/mconsole'
def client():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind('')
    s.settimeout(30)
    return s
def send(s, command):
    s.sendto(struct.pack('=III', 0xcafebabe, 2, len(command)) + command, path)
def read(s):
    parts = []
    while True:
        reply = s.recv(4096)
        err, more, length = struct.unpack('=iII', reply[:12])
        parts.append((err, reply[12:12 + length]))
        if not more:
            return parts
deaf = [client() for _ in range(3)]
for s in deaf:
    send(s, b'sysrq m')
s = client()
send(s, b'sysrq m')
parts = read(s)
print('fragments', len(parts), 'errors', sorted(set(err for err, _ in parts)))
print('whole', b'Mem-Info' in b''.join(text.rstrip(b'\0') for _, text in parts))
send(s, b'proc nothing')
print('refused', read(s)[0][0])
END)"));
  EXPECT_TRUE(Ok(asked));
  EXPECT_THAT(asked.out, ContainsRegex("fragments [0-9]+ errors .0.\nwhole True\nrefused 1\n"));
  EXPECT_THAT(asked.out, Not(HasSubstr("fragments 1 ")));
}

TEST_F(Bridge, OldListenersAreNotified) {
  const std::string listener = host_->Work("listener");
  // Prints each notification: its type and its text.
  const std::unique_ptr<Running> heard = Running::Start(host_->MakeCommand({"/usr/bin/python3", "-u", "-c", R"(
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening')
while True:
    data = s.recv(4096)
    magic, version, kind, length = struct.unpack('=IIII', data[:16])
    print('type', kind, hex(magic), version, data[16:16 + length].rstrip(b'\0').decode()))",
                                                                            listener}),
                                                        Running::On::kPipes);
  ASSERT_TRUE(heard->ReadUntil("listening"));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--arg", "mconsole=notify:" + listener}));
  EXPECT_TRUE(heard->ReadUntil(absl::StrCat("type 0 0xcafebabe 2 ", host_->mconsole_dir(), "/web1/mconsole\n")))
      << heard->out();
  EXPECT_EQ(host_->RunInGuest("web1", "echo something happened >/proc/mconsole").exit_code, 0);
  EXPECT_TRUE(heard->ReadUntil("type 3 0xcafebabe 2 something happened")) << heard->out();
  host_->Run({"sysrq", "web1", "c"});
  EXPECT_TRUE(heard->ReadUntil("type 1 0xcafebabe 2 ")) << heard->out();
  EXPECT_TRUE(host_->WaitForState("web1", "CRASHED"));
  EXPECT_TRUE(
      Refused(host_->Run({"create", "web2", "--arg", "mconsole=notify:listener"}), kUsage, {"names no socket"}));
}

TEST_F(Bridge, GarbageIsAnsweredOrDroppedAndHarmsNobody) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string socket = host_->mconsole_dir() + "/web1/mconsole";
  const CommandResult sent = host_->Shell(absl::StrCat(R"(python3 - <<'END'
import socket, struct
def ask(data, answers=True):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind('')
    s.settimeout(20 if answers else 0.2)
    s.sendto(data, ')",
                                                       socket, R"(')
    try:
        return s.recv(4096)
    except socket.timeout:
        return None
head = lambda magic, version, length: struct.pack('=III', magic, version, length)
def text(reply):
    err, more, length = struct.unpack('=iII', reply[:12])
    return err, reply[12:].split(b'\0')[0].decode()
for junk in (b'', b'\xbe\xba', b'x' * 11, head(0xcafebabe, 2, 4000) + b'version', bytes(1000)):
    ask(junk, answers=False)
print('raw', ask(b'version\0').decode())
print('version 3', text(ask(head(0xcafebabe, 3, 7) + b'version')))
print('too long', text(ask(head(0xcafebabe, 2, 600) + b'version ' + b'x' * 592)))
print('good', text(ask(head(0xcafebabe, 2, 7) + b'version')))
END)"));
  EXPECT_TRUE(Ok(sent));
  EXPECT_THAT(sent.out, AllOf(HasSubstr("raw ERR Version 0 mconsole clients are not supported"),
                              ContainsRegex("version 3 \\(1, '.*version 2"),
                              HasSubstr("too long (1, 'Request too large"), HasSubstr("good (0, 'Linux web1 ")));
  EXPECT_EQ(host_->State("web1"), "RUNNING");
}

TEST_F(Bridge, IsThereAgainAfterAKillOfUmld) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  host_->Kill9();
  EXPECT_NE(host_->UmlMconsole({"web1", "version"}).exit_code, 0);
  ASSERT_TRUE(host_->Start());
  ASSERT_TRUE(WaitFor([] { return host_->UmlMconsole({"web1", "version"}).exit_code == 0; }));
  EXPECT_THAT(Say({"version"}), StartsWith("OK Linux web1"));
}

TEST_F(Bridge, AGuestStartedByHandKeepsItsPlace) {
  ASSERT_TRUE(host_->Create("byhand"));
  const Json images = Json::parse(host_->Run({"image", "list", "-o", "json"}).out);
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("cp ", images[0]["path"].get<std::string>(), " root.img"))));
  std::unique_ptr<Running> kernel = Running::Start(
      host_->MakeCommand({"/usr/bin/linux.uml", "mem=64M", "umid=byhand", "ubda=" + host_->Work("root.img"), "rw",
                          "con=null", "con0=null,fd:1", "hostname=foreign"}),
      Running::On::kPipes);
  ASSERT_TRUE(WaitFor([] { return host_->UmlMconsole({"byhand", "version"}).exit_code == 0; })) << kernel->out();
  // Ours starts all the same, without a place for uml_mconsole, and takes nothing from the other.
  ASSERT_TRUE(Ok(host_->Run({"start", "byhand"})));
  EXPECT_THAT(host_->Run({"mconsole", "byhand", "version"}).out, HasSubstr("Linux byhand "));
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "byhand"})));
  EXPECT_EQ(host_->UmlMconsole({"byhand", "version"}).exit_code, 0);
  host_->UmlMconsole({"byhand", "halt"});
  EXPECT_TRUE(kernel->Wait().has_value());
  EXPECT_THAT(FilesUnder(host_->mconsole_dir()), IsEmpty());
}

}  // namespace
}  // namespace umld::tests
