// What somebody can do who has taken over a guest's kernel. The attacks are a program of ours (malicious_kernel.cc)
// that umld runs as the guest's kernel, so that it is confined as every kernel is. Each control of the jail is also
// removed in turn: what it prevents must then work, or its test would prove nothing.
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr key_t kQueue = 0x756d6c64;
constexpr uint16_t kPort = 47113;
constexpr char kAbstract[] = "umld-jail-test";
constexpr char kNeighboursTap[] = "evil0";
constexpr char kNoSuchFile[] = "refused: No such file or directory";
constexpr uid_t kFirstUid = 1879048192;
// What the attack "identity" finds of a guest that has a uid of its own.
constexpr char kOwnIdentity[] = "(1879[0-9]+ ){3}gids (1879[0-9]+ ){3}groups 0 on evil";

// What the hosts of these tests have for the host's network: a loopback, and a tap that nobody is attached to.
class OwnNetwork : public testing::Environment {
 public:
  void SetUp() override {
    if (getuid() != 0) return;
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(system(absl::StrCat("ip link set lo up && ip tuntap add mode tap name ", kNeighboursTap).c_str()), 0);
  }
};
const testing::Environment* const own_network = testing::AddGlobalTestEnvironment(new OwnNetwork);

// A group that umld has beside its own, for its guests to lose.
class OneGroupMore : public testing::Environment {
 public:
  void SetUp() override {
    const gid_t group = 54321;
    if (getuid() == 0) {
      ASSERT_EQ(setgroups(1, &group), 0);
    }
  }
};
const testing::Environment* const one_group_more = testing::AddGlobalTestEnvironment(new OneGroupMore);

// Attacks by a guest of a host, and things of that host to attack.
class Attacker {
 public:
  explicit Attacker(Host* host) : host_(host) {
    folder_ = "/tmp/jail_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    chmod(folder_.c_str(), 0755);
    fs::copy_file("tests/malicious_kernel", folder_ + "/kernel");
    chmod((folder_ + "/kernel").c_str(), 0755);
    queue_ = msgget(kQueue, IPC_CREAT | 0666);
    EXPECT_GE(queue_, 0);
    // On the loopback of the host, and in its abstract names.
    sockaddr_in loopback = {};
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback.sin_port = htons(kPort);
    Listen(&tcp_, reinterpret_cast<const sockaddr*>(&loopback), sizeof(loopback));
    sockaddr_un abstract = {};
    abstract.sun_family = AF_UNIX;
    std::strcpy(abstract.sun_path + 1, kAbstract);
    Listen(&abstract_, reinterpret_cast<const sockaddr*>(&abstract),
           static_cast<socklen_t>(sizeof(sa_family_t) + 1 + strlen(kAbstract)));
  }
  ~Attacker() {
    msgctl(queue_, IPC_RMID, nullptr);
    close(tcp_);
    close(abstract_);
    fs::remove_all(folder_);
  }

  struct End {
    std::string reason;  // in its description
    std::string event;   // for those who watch
  };
  // How a guest ended that made one attack.
  End EndOf(const std::string& attack) {
    EXPECT_TRUE(Ok(host_->Run({"create", "evil", "--kernel", folder_ + "/kernel", "--arg", "attack." + attack})));
    EXPECT_NE(host_->Run({"start", "evil"}).exit_code, 0);
    End end = {host_->Describe("evil")["last_exit"]["reason"].get<std::string>(), ""};
    for (const Json& event : host_->Events("evil")) {
      if (event["type"] == "guest.crashed") end.event = event["message"].get<std::string>();
    }
    EXPECT_TRUE(Ok(host_->Run({"delete", "evil", "--force"})));
    return end;
  }

  // What each of the attacks came to, by its name: "read=/etc/passwd".
  std::map<std::string, std::string> Attack(const std::vector<std::string>& attacks,
                                            const std::vector<std::string>& more = {}) {
    std::vector<std::string> create = {"create", "evil", "--mem", "64M", "--kernel", folder_ + "/kernel"};
    create.insert(create.end(), more.begin(), more.end());
    for (const std::string& attack : attacks) create.insert(create.end(), {"--arg", "attack." + attack});
    if (const CommandResult created = host_->Run(create); created.exit_code != 0) {
      ADD_FAILURE() << created;
      return {};
    }
    // It never comes up: it does its work, and ends.
    EXPECT_NE(host_->Run({"start", "evil"}).exit_code, 0);
    EXPECT_EQ(host_->State("evil"), "CRASHED");
    const std::string out = host_->Run({"logs", "evil", "con0"}).out;
    EXPECT_TRUE(Ok(host_->Run({"delete", "evil", "--force"})));
    std::map<std::string, std::string> results;
    for (absl::string_view line : absl::StrSplit(out, '\n')) {
      line = absl::StripSuffix(line, "\r");
      const size_t colon = line.find(": ");
      if (colon != absl::string_view::npos)
        results[std::string(line.substr(0, colon))] = std::string(line.substr(colon + 2));
    }
    for (const std::string& attack : attacks) EXPECT_EQ(results.count(attack), 1U) << attack << " in:\n" << out;
    return results;
  }

  const std::string& folder() const { return folder_; }

 private:
  static void Listen(int* fd, const sockaddr* address, socklen_t size) {
    *fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    EXPECT_EQ(bind(*fd, address, size), 0) << strerror(errno);
    EXPECT_EQ(listen(*fd, 5), 0);
  }

  Host* host_;
  std::string folder_;
  int queue_ = -1, tcp_ = -1, abstract_ = -1;
};

// The controls that guests of this host are started without, until the next call; "" is none.
void Remove(Host& host, const std::string& controls) {
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("printf '%s\\n' ", controls, " >", host.run_dir(), "/removed_controls"))));
}

HostOptions WithHoles() {
  HostOptions options;
  options.umld_args = {"--vmcore", fs::absolute("vmcore/vmcore_with_holes")};
  return options;
}

// ---------------------------------------------------------------- what the host says of processes

// /proc/PID/status by its names, with one space between words: "0 0 0 0" for "Uid".
std::map<std::string, std::string> StatusOf(pid_t pid) {
  std::map<std::string, std::string> fields;
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(file, line);) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    const std::vector<std::string> words = absl::StrSplit(parts.second, absl::ByAnyChar("\t "), absl::SkipEmpty());
    fields[parts.first] = absl::StrJoin(words, " ");
  }
  return fields;
}

// A set of capabilities as it stands there.
std::string CapabilitySet(std::initializer_list<int> capabilities) {
  uint64_t mask = 0;
  for (int capability : capabilities) mask |= uint64_t{1} << capability;
  return absl::StrCat(absl::Hex(mask, absl::kZeroPad16));
}

// What a process has open: what "/proc/PID/fd/N" leads to, by that path.
std::map<std::string, std::string> DescriptorsOf(pid_t pid) {
  std::map<std::string, std::string> links;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(absl::StrCat("/proc/", pid, "/fd"), error)) {
    std::error_code closed;
    const std::string link = fs::read_symlink(entry.path(), closed).string();
    if (!closed) links[entry.path().string()] = link;
  }
  EXPECT_FALSE(links.empty()) << error.message();
  return links;
}

// The file that is the guest's memory.
bool IsMemory(const std::string& link) {
  return absl::StartsWith(link, "/dev/shm/") && absl::EndsWith(link, " (deleted)");
}

// Does something in a process of its own with this uid, the gid of that number and no other group. The errno of what
// was refused, or 0.
int AsUid(uid_t uid, const std::function<bool()>& action) {
  const pid_t child = fork();
  if (child == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0) _exit(255);
    _exit(action() ? 0 : errno);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool ConnectPackets(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

// Of vmcore and of the guest's init: those of vmcore/privileges.cc, and what ends the kernel's processes and keeps them
// from tracing init.
std::string SupervisorsSet() {
  return CapabilitySet({CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_SETUID,
                        CAP_SETGID, CAP_SETFCAP, CAP_SETPCAP, CAP_CHOWN, CAP_MKNOD, CAP_DAC_OVERRIDE,
                        CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_KILL});
}
std::string InitsSet() { return CapabilitySet({CAP_KILL}); }

// ---------------------------------------------------------------- as umld confines

class Jail : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }
};

TEST_F(Jail, AForbiddenSystemCallEndsTheGuestAndIsNamed) {
  Attacker attacker(host_);
  const std::pair<const char*, const char*> calls[] = {
      {"namespace", "unshare"}, {"mount=/dev/shm", "mount"}, {"root", "setuid"}, {"tcp=22", "socket"}};
  for (const auto& [attack, call] : calls) {
    const Attacker::End end = attacker.EndOf(attack);
    EXPECT_THAT(end.reason, AllOf(HasSubstr("system call"), HasSubstr(absl::StrCat(call, "("))));
    EXPECT_EQ(end.event, end.reason);
  }
}

TEST_F(Jail, ItsSupervisorHasWhatItNeedsAlone) {
  ASSERT_TRUE(host_->CreateAndStart("victim"));
  const Json processes = host_->Describe("victim")["processes"];
  const std::string none = CapabilitySet({});
  auto supervisor = StatusOf(processes["supervisor_pid"].get<pid_t>());
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) EXPECT_EQ(supervisor[set], SupervisorsSet()) << set;
  for (const char* set : {"CapInh", "CapAmb"}) EXPECT_EQ(supervisor[set], none) << set;
  auto init = StatusOf(processes["init_pid"].get<pid_t>());
  for (const char* set : {"CapPrm", "CapEff"}) EXPECT_EQ(init[set], InitsSet()) << set;
  for (const char* set : {"CapBnd", "CapInh", "CapAmb"}) EXPECT_EQ(init[set], none) << set;
}

TEST(JailSupervisor, HasMoreIfNothingIsDropped) {
  Host host(WithHoles());
  ASSERT_TRUE(host.Start());
  Remove(host, "supervisor-privileges init-privileges");
  ASSERT_TRUE(host.CreateAndStart("victim"));
  const Json processes = host.Describe("victim")["processes"];
  auto supervisor = StatusOf(processes["supervisor_pid"].get<pid_t>());
  auto init = StatusOf(processes["init_pid"].get<pid_t>());
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) EXPECT_GT(supervisor[set], SupervisorsSet()) << set;
  for (const char* set : {"CapPrm", "CapEff"}) EXPECT_GT(init[set], InitsSet()) << set;
  EXPECT_NE(init["CapBnd"], CapabilitySet({}));
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("rm ", host.run_dir(), "/removed_controls"))));
}

TEST_F(Jail, ItsKernelHasNothing) {
  ASSERT_TRUE(host_->CreateAndStart("victim"));
  const Json victim = host_->Describe("victim");
  const pid_t kernel = victim["processes"]["kernel_pid"];
  auto status = StatusOf(kernel);
  const bool root = getuid() == 0;
  const uid_t uid = root ? kFirstUid + victim["id"].get<uid_t>() : getuid();
  const gid_t gid = root ? uid : getgid();
  EXPECT_EQ(status["Uid"], absl::StrCat(uid, " ", uid, " ", uid, " ", uid));
  EXPECT_EQ(status["Gid"], absl::StrCat(gid, " ", gid, " ", gid, " ", gid));
  if (root) {
    EXPECT_EQ(status["Groups"], "");  // an ordinary user cannot leave his
  }
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(status[set], CapabilitySet({})) << set;
  }
  EXPECT_EQ(status["NoNewPrivs"], "1");
  EXPECT_EQ(status["Seccomp"], "2");
  // Nothing of umld's environment.
  std::ifstream file(absl::StrCat("/proc/", kernel, "/environ"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_THAT(std::vector<std::string>(absl::StrSplit(text, '\0', absl::SkipEmpty())),
              ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent",
                          "TERM=linux"));
  // And of the host's files its disk, terminals, and a memory that is not in the host's /dev/shm.
  const Json disk = DiskOf(victim, "ubda");
  struct stat hosts = {};
  ASSERT_EQ(stat("/dev/shm", &hosts), 0);
  bool memory = false;
  for (const auto& [fd, link] : DescriptorsOf(kernel)) {
    EXPECT_THAT(link, AnyOf(StartsWith("socket:["), StartsWith("pipe:["), StartsWith("anon_inode:[event"),
                            StartsWith("/dev/pts/"), "/dev/null", disk["path"].get<std::string>(),
                            disk["backing"].get<std::string>(), testing::Truly(IsMemory)))
        << fd;
    if (!IsMemory(link)) continue;
    memory = true;
    struct stat info = {};
    EXPECT_EQ(stat(fd.c_str(), &info), 0) << fd;
    EXPECT_NE(info.st_dev, hosts.st_dev) << fd;
  }
  EXPECT_TRUE(memory);
}

// ---------------------------------------------------------------- without the filter of system calls

TEST(JailFilter, IsWhatForbidsACall) {
  Host host(WithHoles());
  ASSERT_TRUE(host.Start());
  Attacker attacker(&host);
  const std::string tcp = absl::StrCat("tcp=", kPort);
  EXPECT_THAT(attacker.EndOf(tcp).reason, HasSubstr("socket("));
  EXPECT_THAT(attacker.EndOf("namespace").reason, HasSubstr("unshare("));
  Remove(host, "seccomp");
  // The call is made, and the guest goes on.
  EXPECT_EQ(attacker.Attack({tcp})[tcp], "refused: Network is unreachable");
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("rm ", host.run_dir(), "/removed_controls"))));
}

// Every other control has to hold what the filter would have stopped before it came to that.
class JailUnfiltered : public Jail {
 protected:
  static void SetUpTestSuite() {
    host_ = new Host(WithHoles());
    ASSERT_TRUE(host_->Start());
    Remove(*host_, "seccomp");
  }
};

TEST_F(JailUnfiltered, NothingOfTheHostIsThere) {
  Attacker attacker(host_);
  ASSERT_TRUE(host_->CreateAndStart("victim"));
  const Json victim = host_->Describe("victim");
  const std::string kernel = absl::StrCat(victim["processes"]["kernel_pid"].get<pid_t>());
  const std::string run = victim["processes"]["runtime_directory"];
  const std::string disk = DiskOf(victim, "ubda")["path"];
  const std::string log = host_->state_dir() + "/guests/" + std::to_string(victim["id"].get<int>()) + "/con1.log";
  const std::string sockets[] = {"stream=" + host_->socket(), "packets=" + run + "/vmcore.sock",
                                 "datagram=" + host_->mconsole_dir() + "/victim/mconsole"};
  std::vector<std::string> absent = {"read=/etc/passwd",
                                     "read=/proc/self/maps",
                                     "read=" + disk,
                                     "read=" + log,
                                     "read=" + host_->state_dir() + "/umld.db",
                                     "list=/proc",
                                     "list=/sys",
                                     "list=" + run,
                                     "list=/root"};
  if (access("/dev/mem", F_OK) == 0) absent.push_back("read=/dev/mem");  // not every host has one
  absent.insert(absent.end(), std::begin(sockets), std::end(sockets));
  std::vector<std::string> all = absent;
  std::vector<std::string> refused = {"mount=/dev/shm",
                                      "root",
                                      "device=/dev/shm/x",
                                      "write=/etc/ld.so.cache",
                                      "signal=" + kernel,
                                      "trace=" + kernel,
                                      absl::StrCat("queue=", kQueue)};
  if (getuid() == 0) refused.push_back("create=/x");  // else its own small root has its uid, which is all there is
  all.insert(all.end(), refused.begin(), refused.end());
  for (const char* attack : {"list=/", "list=/dev", "identity", "capabilities", "no_new_privs"}) all.push_back(attack);
  auto results = attacker.Attack(all);
  for (const std::string& attack : absent) EXPECT_EQ(results[attack], kNoSuchFile) << attack;
  for (const std::string& attack : refused) EXPECT_THAT(results[attack], StartsWith("refused: ")) << attack;
  EXPECT_THAT(results["list=/"], AllOf(HasSubstr("dev"), Not(HasSubstr("proc")), Not(HasSubstr("home"))));
  const std::string umlds =
      absl::StrCat("(", getuid(), " ){3}gids (", getgid(), " ){3}groups [0-9]+ on evil");  // in a user namespace
  EXPECT_THAT(results["identity"], MatchesRegex(getuid() == 0 ? std::string(kOwnIdentity) : umlds));
  EXPECT_EQ(results["capabilities"], "none, none to be had");
  EXPECT_EQ(results["no_new_privs"], "set");
  // Not that pid, and no other of the host: they are not in its namespace.
  EXPECT_EQ(results["signal=" + kernel], "refused: No such process");
  EXPECT_EQ(results["list=/dev"], "net null shm");
  // All of it is there for who has the host's root and is who umld is.
  Remove(*host_, "root uid capabilities seccomp");
  results = attacker.Attack(absent);
  for (const std::string& attack : absent) EXPECT_NE(results[attack], kNoSuchFile) << attack;
  Remove(*host_, "seccomp");
  EXPECT_EQ(host_->RunInGuest("victim", "echo well").out, "well\n");
}

TEST_F(JailUnfiltered, TheHostsNetworkIsNotThere) {
  Attacker attacker(host_);
  const std::string tcp = absl::StrCat("tcp=", kPort), abstract = absl::StrCat("abstract=", kAbstract);
  auto results = attacker.Attack({tcp, abstract});
  EXPECT_EQ(results[tcp], "refused: Network is unreachable");
  EXPECT_EQ(results[abstract], "refused: Connection refused");
  // The attacks would work.
  results = attacker.Attack({tcp, abstract}, {"--confinement", "relaxed", "--trust", "trusted"});
  EXPECT_EQ(results[tcp], "done");
  EXPECT_EQ(results[abstract], "done");
}

TEST_F(JailUnfiltered, TwoGuestsAreStrangers) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to have more than one uid";
  Attacker attacker(host_);
  const std::string first = attacker.Attack({"identity"})["identity"];
  EXPECT_NE(attacker.Attack({"identity"})["identity"], first);
  // By their uids too, should one ever get out of its namespaces.
  ASSERT_TRUE(host_->CreateAndStart("a"));
  ASSERT_TRUE(host_->CreateAndStart("b"));
  auto uid = [](const char* name) {
    const pid_t pid = host_->Describe(name)["processes"]["kernel_pid"];
    struct stat info = {};
    stat(absl::StrCat("/proc/", pid).c_str(), &info);
    return info.st_uid;
  };
  EXPECT_NE(uid("a"), uid("b"));
  const Json described = host_->Describe("b");
  const std::string disk = DiskOf(described, "ubda")["path"], run = described["processes"]["runtime_directory"];
  const std::string state = absl::StrCat(host_->state_dir(), "/guests/", described["id"].get<int>());
  const pid_t b = described["processes"]["kernel_pid"];
  std::string memory;
  for (const auto& [fd, link] : DescriptorsOf(b)) {
    if (IsMemory(link)) memory = fd;
  }
  ASSERT_NE(memory, "");
  const std::string as_a = absl::StrCat("setpriv --reuid=", uid("a"), " --regid=", uid("a"), " --clear-groups -- ");
  for (const std::string& attack :
       {"head -c 1 " + disk, "head -c 1 " + host_->state_dir() + "/umld.db", "head -c 1 " + state + "/con0.log",
        absl::StrCat("kill -0 ", b), absl::StrCat("ls /proc/", b, "/fd"), absl::StrCat("head -n 1 /proc/", b, "/maps"),
        absl::StrCat("ls /proc/", b, "/root/dev/shm"), "head -c 1 " + memory, "ls " + run,
        "stat " + run + "/vmcore.sock",
        "socat -u OPEN:/etc/hostname UNIX-SENDTO:" + host_->mconsole_dir() + "/b/mconsole",
        "socat -u OPEN:/dev/null UNIX-CONNECT:" + host_->socket()}) {
    EXPECT_NE(host_->Shell(as_a + attack).exit_code, 0) << attack;
    // It would work for somebody else.
    EXPECT_TRUE(Ok(host_->Shell(attack)));
  }
  // Who traces and ends lets go.
  auto trace = [b] { return ptrace(PTRACE_SEIZE, b, nullptr, nullptr) == 0; };
  EXPECT_EQ(AsUid(uid("a"), trace), EPERM);
  EXPECT_EQ(AsUid(0, trace), 0);
  auto reach = [&run] { return ConnectPackets(run + "/vmcore.sock"); };
  EXPECT_EQ(AsUid(uid("a"), reach), EACCES);
  EXPECT_EQ(AsUid(0, reach), 0);
  EXPECT_EQ(host_->RunInGuest("b", "echo well").out, "well\n");
}

TEST_F(JailUnfiltered, DisksAreLentAndNotGiven) {
  Attacker attacker(host_);
  const std::string mine = host_->Work("mine"), shared = host_->Work("shared"), other = host_->Work("other");
  ASSERT_TRUE(Ok(host_->Shell("for f in mine shared other; do truncate -s 1M $f; chmod 600 $f; done")));
  auto results = attacker.Attack(
      {"read=" + mine, "write=" + mine, "read=" + shared, "write=" + shared, "read=" + other, "list=" + host_->work()},
      {"--disk", "ubdb=" + mine, "--disk", "ubdcr=" + shared});
  EXPECT_EQ(results["read=" + mine], "done");
  EXPECT_EQ(results["write=" + mine], "done");
  EXPECT_EQ(results["read=" + shared], "done");
  EXPECT_EQ(results["write=" + shared], "refused: Read-only file system");
  EXPECT_EQ(results["read=" + other], kNoSuchFile);
  EXPECT_EQ(results["list=" + host_->work()], "mine shared");
  struct stat info = {};
  ASSERT_EQ(stat(mine.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, getuid()) << "the file changed hands";
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(Jail, HostfsInsideShowsTheJail) {
  // In a folder that the jail has too.
  const std::string marker = host_->root() + "/marker";
  auto look = [&marker](const char* guest) {
    return host_
        ->RunInGuest(guest,
                     absl::StrCat("mkdir -p /tmp/h && mount -t hostfs none /tmp/h -o / && echo mounted && "
                                  "ls /tmp/h/etc /tmp/h/root /tmp/h/proc; touch /tmp/h",
                                  marker,
                                  "; mount -t hostfs none /tmp/h -o /../../.. && echo mounted above && ls /tmp/h/etc; "
                                  "umount /tmp/h; umount /tmp/h; true"))
        .out;
  };
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  EXPECT_THAT(look("web1"), AllOf(HasSubstr("mounted\n"), HasSubstr("mounted above\n"), HasSubstr("ld.so.cache"),
                                  Not(HasSubstr("passwd"))));
  EXPECT_FALSE(fs::exists(marker));
  // Without the jail it is the host.
  ASSERT_TRUE(host_->CreateAndStart("web2", {"--confinement", "relaxed", "--trust", "trusted"}));
  EXPECT_THAT(look("web2"), AllOf(HasSubstr("mounted\n"), HasSubstr("mounted above\n"), HasSubstr("passwd")));
  EXPECT_TRUE(fs::remove(marker));
}

TEST_F(Jail, APluggedDiskIsThereWhileItIsPlugged) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("echo secret >disk; truncate -s 1M disk; chmod 600 disk")));
  const pid_t kernel = host_->Describe("web1")["processes"]["kernel_pid"];
  auto visible = [&] {
    return access(absl::StrCat("/proc/", kernel, "/root", host_->Work("disk")).c_str(), F_OK) == 0;
  };
  EXPECT_FALSE(visible());
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk"})));
  EXPECT_TRUE(visible());
  EXPECT_EQ(host_
                ->RunInGuest("web1",
                             "head -c 6 /dev/ubdb; echo; echo new | dd of=/dev/ubdb conv=notrunc 2>/dev/null; "
                             "sync")
                .out,
            "secret\n");
  EXPECT_EQ(host_->Shell("head -c 4 disk").out, "new\n");
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_FALSE(visible());
  // One that is replaced by another file while it is not plugged is the other one from then on.
  ASSERT_TRUE(Ok(host_->Shell("rm disk; echo second >disk; truncate -s 1M disk")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk"})));
  EXPECT_EQ(host_->RunInGuest("web1", "head -c 6 /dev/ubdb").out, "second");
}

// Whoever has taken over the guest's kernel may put what he likes in the folder that vmcore shares with it.
TEST_F(Jail, LinksInItsFolderLeadVmcoreNowhere) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string shared = host_->Describe("web1")["processes"]["runtime_directory"].get<std::string>() + "/kernel";
  const std::string folder = host_->Work(std::string(220, 'd')), victim = host_->Work("victim");
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("mkdir victim ", folder, " && echo mine >victim/ubdb && truncate -s 1M ",
                                           folder, "/disk && chmod 777 victim"))));
  EXPECT_EQ(
      host_
          ->RunInGuest("web1", absl::StrCat("mkdir /tmp/h && mount -t hostfs none /tmp/h -o / && cd /tmp/h", shared,
                                            " && for name in disks shown replies links scratch; do ln -s ", victim,
                                            " $name || exit 1; done; cd / && umount /tmp/h && echo placed"))
          .out,
      "placed\n");
  // Its links are made and removed, and its file is not touched.
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", absl::StrCat("ubdb=", folder, "/disk")})));
  EXPECT_EQ(host_->RunInGuest("web1", "blockdev --getsize64 /dev/ubdb").out, "1048576\n");
  EXPECT_EQ(host_->Shell("ls victim; cat victim/ubdb").out, "ubdb\nmine\n");
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_EQ(host_->Shell("ls victim; cat victim/ubdb").out, "ubdb\nmine\n");
}

// Where a disk was, the guest may make what it likes, if its path is in the guest's own memory.
TEST_F(Jail, APipeWhereADiskWasHoldsNothingUp) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to have a disk in the host's /dev/shm shown in the guest's";
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  std::string disk = "/dev/shm/umldt-jail.XXXXXX";
  const UniqueFd file(mkstemp(disk.data()));
  ASSERT_EQ(ftruncate(file.get(), 1 << 20), 0);
  const CommandResult plugged = host_->Run({"plug", "web1", "ubdb=" + disk});
  if (plugged.err.find("cannot lend it") != std::string::npos) {
    unlink(disk.c_str());
    GTEST_SKIP() << "needs Linux 6.3, whose tmpfs can be lent";
  }
  ASSERT_TRUE(Ok(plugged));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_EQ(host_
                ->RunInGuest("web1", absl::StrCat("mkdir /tmp/h && mount -t hostfs none /tmp/h -o / && mkfifo /tmp/h",
                                                  disk, " && umount /tmp/h && echo made"))
                .out,
            "made\n");
  // Refused or not: vmcore goes on.
  host_->Run({"plug", "web1", "ubdb=" + disk});
  EXPECT_EQ(host_->State("web1"), "RUNNING");
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1"})));
  unlink(disk.c_str());
}

TEST_F(Jail, DescribeSaysWhatIsInForce) {
  auto names = [](const Json& guest) {
    std::vector<std::string> list;
    for (const Json& point : guest["confinement_points"]) list.push_back(point["name"]);
    return list;
  };
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json strict = host_->Describe("web1");
  EXPECT_EQ(strict["confinement"], "STRICT");
  EXPECT_THAT(names(strict), ElementsAre("uid", "root", "namespaces", "capabilities", "limits", "landlock", "seccomp",
                                         "cpu limit", "memory limit", "pids limit", "io limit"));
  for (const Json& point : strict["confinement_points"]) {
    const std::string name = point["name"];
    // An ordinary user has no second uid, and control groups only if somebody lends him some.
    if (getuid() != 0 && absl::EndsWith(name, " limit")) continue;
    EXPECT_EQ(point["in_force"], getuid() == 0 || name != "uid") << point;
  }
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("strict"), HasSubstr("no_new_privs")));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"})));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  const Json relaxed = host_->Describe("web1");
  EXPECT_EQ(relaxed["confinement"], "RELAXED");
  EXPECT_THAT(names(relaxed), ElementsAre("cpu limit", "memory limit", "pids limit", "io limit"));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("relaxed"), Not(HasSubstr("no_new_privs"))));
  const pid_t kernel = relaxed["processes"]["kernel_pid"];
  struct stat info = {};
  ASSERT_EQ(stat(absl::StrCat("/proc/", kernel).c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, getuid());
  EXPECT_EQ(host_->RunInGuest("web1", "echo well").out, "well\n");
}

// Where the guest's own memory is mounted.
TEST(JailFolder, MayBeBelowTheHostsSharedMemory) {
  std::string folder = "/dev/shm/umldt.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  chmod(folder.c_str(), 0755);
  {
    HostOptions options;
    options.run_folder = folder;
    Host host(options);
    ASSERT_TRUE(host.Start());
    ASSERT_TRUE(host.CreateAndStart("web1"));
    EXPECT_EQ(host.RunInGuest("web1", "echo well").out, "well\n");
    // Also after a reboot, in a new root.
    ASSERT_TRUE(Ok(host.Run({"reboot", "web1"})));
    EXPECT_EQ(host.RunInGuest("web1", "echo well").out, "well\n");
  }
  EXPECT_EQ(rmdir(folder.c_str()), 0) << "left behind in " << folder;
}

// The folder of the mconsole's socket is the kernel's to change.
TEST(JailMconsole, ALinkIsNotFollowed) {
  Host host(WithHoles());
  ASSERT_TRUE(host.Start());
  Attacker attacker(&host);
  const std::string path = attacker.folder() + "/neighbour";
  const UniqueFd neighbour(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(neighbour.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  chmod(path.c_str(), 0777);
  // Whether a command that was meant for the attacker's kernel arrives at another.
  auto arrives = [&](const std::string& removed) {
    Remove(host, removed);
    EXPECT_EQ(attacker.Attack({"link=" + path})["link=" + path], "done");
    char buffer[4096];
    return recv(neighbour.get(), buffer, sizeof(buffer), MSG_DONTWAIT) > 0;
  };
  EXPECT_FALSE(arrives("seccomp"));
  EXPECT_TRUE(arrives("mconsole-links seccomp"));
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("rm ", host.run_dir(), "/removed_controls"))));
}

// ---------------------------------------------------------------- each control, removed in turn

struct Control {
  const char* name;
  std::string attack;
  const char* prevented;    // how the attack ends
  const char* possible;     // and how without the control
  const char* beside = "";  // other controls that would prevent it too, and are removed both times
  std::vector<std::string> create = {};
  bool for_root = false;  // not there for guests of an ordinary user, or not to be seen
  bool filtered = false;  // the seccomp filter stays, which it works with; it stands in the way of most attacks
};
void PrintTo(const Control& control, std::ostream* out) { *out << control.name; }

class JailControl : public testing::TestWithParam<Control> {};

// A control group of this test's own, which umld and its vmcores begin in.
class OwnGroup {
 public:
  OwnGroup() {
    if (getuid() != 0) return;
    for (const char* hierarchy : {"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      parent_ = hierarchy;
      if (fs::exists(parent_ + "/cgroup.procs")) break;
    }
    std::error_code error;
    EXPECT_TRUE(fs::create_directory(parent_ + "/" + kGroup, error)) << error.message();
    Enter(parent_ + "/" + kGroup);
  }
  ~OwnGroup() {
    if (getuid() != 0) return;
    Enter(parent_);
    std::error_code error;
    // Its processes have ended, and not all of them have left it yet.
    for (int i = 0; i < 100 && !fs::remove(parent_ + "/" + kGroup, error); ++i) usleep(20'000);
    EXPECT_FALSE(error) << error.message();
  }
  static constexpr char kGroup[] = "umld-jail-test";

 private:
  static void Enter(const std::string& group) { std::ofstream(group + "/cgroup.procs") << getpid() << std::endl; }
  std::string parent_;
};

TEST_P(JailControl, PreventsWhatItIsFor) {
  if (GetParam().for_root && getuid() != 0) GTEST_SKIP() << "needs root";
  const OwnGroup group;
  Host host(WithHoles());
  ASSERT_TRUE(host.Start());
  Attacker attacker(&host);
  ASSERT_TRUE(Ok(host.Shell("truncate -s 1M disk; chmod 600 disk")));
  const Control& control = GetParam();
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, sizeof(name) - 1);
  auto fill_in = [&](const std::string& text) {
    return absl::StrReplaceAll(text,
                               {{"WORK", host.work()}, {"PID", absl::StrCat(getpid())}, {"HOST", std::string(name)}});
  };
  auto attack = [&](const std::string& removed) {
    Remove(host, removed);
    const std::string words = fill_in(control.attack);
    return attacker.Attack({words}, control.create)[words];
  };
  const std::string beside = absl::StrCat(control.filtered ? "" : "seccomp ", control.beside);
  EXPECT_THAT(attack(beside), MatchesRegex(control.prevented));
  EXPECT_THAT(attack(absl::StrCat(control.name, " ", beside)), MatchesRegex(fill_in(control.possible)));
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("rm ", host.run_dir(), "/removed_controls"))));
}

INSTANTIATE_TEST_SUITE_P(
    , JailControl,
    testing::Values(
        Control{"uid", "identity", kOwnIdentity, "0 0 0 gids 0 0 0 groups 1 on evil", "", {}, true},
        Control{"root", "read=/etc/passwd", "refused: No such file or directory", "done"},
        // A uid that is not root's has none after an exec in any case.
        Control{"capabilities", "capabilities", "none, none to be had", "none, some to be had"},
        Control{"capabilities", "capabilities", "none, none to be had", "some, some to be had", "uid", {}, true},
        Control{"no_new_privs", "no_new_privs", "set", "not set", "landlock"},
        Control{"ipc", absl::StrCat("queue=", kQueue), "refused: No such file or directory", "done"},
        Control{"network", absl::StrCat("tcp=", kPort), "refused: Network is unreachable", "done"},
        Control{"landlock", "signal=1", "refused: Operation not permitted", "done", "uid"},
        Control{"landlock", absl::StrCat("abstract=", kAbstract), "refused: Operation not permitted", "done",
                "network"},
        Control{"read-only", "write=WORK/disk", "refused: Read-only file system", "done", "", {"--disk", "ubdbr=disk"}},
        Control{"read-only", "create=shown/ubdb", "refused: Read-only file system", "done", "uid capabilities"},
        Control{"memory-limit", "fill=/dev/shm", "80|79", "100", "file-size"},
        Control{"folder-limit", "fill=kernel", "0|1", "100", "file-size"},
        // Where only root may write, in a guest that has a uid of its own.
        Control{"root-limit", "fill=/", "0|1", "100", "uid file-size"},
        Control{"control-groups", "fork", "5[0-9]", "300", "", {"--pids", "60"}, true},
        Control{"open-files", "files", "10[0-9][0-9]", "[1-9][0-9][0-9][0-9][0-9]+"},
        // Another control refuses it too, but would say something else: the process is seen.
        Control{"pid", "signal=PID", "refused: No such process", "done", "uid landlock"},
        Control{"uts", "identity", ".* on evil", ".* on HOST"},
        // Without /proc a guest does not get to see even that.
        Control{"cgroup", absl::StrCat("group=", OwnGroup::kGroup), "hidden", "done", "root", {}, true},
        // Not what it prevents, but what it makes possible without giving the file away.
        Control{"idmap", "write=WORK/disk", "done", "refused: Permission denied", "", {"--disk", "ubdb=disk"}, true},
        Control{"taps",
                absl::StrCat("tap=", kNeighboursTap),
                "refused: Operation not permitted",
                "done",
                "",
                {"--nic", "eth0=tuntap,own0"},
                true,
                /*filtered=*/true},
        Control{"nodev", "node=/dev/shm/x", "refused: Permission denied", "done", "uid capabilities", {}, true},
        // Each of the two is enough to keep init from being traced.
        Control{"undumpable",
                "trace=1",
                "refused: Operation not permitted",
                "done",
                "uid landlock init-capability",
                {},
                true},
        Control{"init-capability",
                "trace=1",
                "refused: Operation not permitted",
                "done",
                "uid landlock undumpable",
                {},
                true},
        Control{"processes", "limit=processes", "16384", "[2-9][0-9]{4}|[1-9][0-9]{5,}|unlimited"},
        Control{"file-size", "length=/dev/shm/x", "refused: File too large", "done"},
        // With 0 a program of the host that takes core dumps would still be run.
        Control{"core", "limit=core", "1", "[2-9]|[1-9][0-9]+|unlimited"}),
    [](const testing::TestParamInfo<Control>& control) {
      const Control& param = control.param;
      std::string name = absl::StrCat(param.name, "_", param.attack.substr(0, param.attack.find('=')),
                                      *param.beside == '\0' ? "" : "_", param.beside);
      for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace umld::tests
