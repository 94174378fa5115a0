// What somebody can do who has taken over a guest's kernel. The attacks are a program of ours (malicious_kernel.cc)
// that umld runs as the guest's kernel, so that it is confined as every kernel is. Each control of the jail is also
// removed in turn: what it prevents must then work, or its test would prove nothing.
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr key_t kQueue = 0x756d6c64;
constexpr uint16_t kPort = 47113;
constexpr char kAbstract[] = "umld-jail-test";
constexpr char kNeighboursTap[] = "evil0";
constexpr char kNoSuchFile[] = "refused: No such file or directory";

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

  // Why a guest ended that made one attack.
  std::string Reason(const std::string& attack) {
    EXPECT_TRUE(Ok(host_->Run({"create", "evil", "--kernel", folder_ + "/kernel", "--arg", "attack." + attack})));
    EXPECT_NE(host_->Run({"start", "evil"}).exit_code, 0);
    const std::string reason = host_->Describe("evil")["last_exit"]["reason"];
    EXPECT_TRUE(Ok(host_->Run({"delete", "evil", "--force"})));
    return reason;
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
    const std::string reason = attacker.Reason(attack);
    EXPECT_THAT(reason, AllOf(HasSubstr("system call"), HasSubstr(absl::StrCat(call, "("))));
  }
}

// ---------------------------------------------------------------- without the filter of system calls

TEST(JailFilter, IsWhatForbidsACall) {
  Host host(WithHoles());
  ASSERT_TRUE(host.Start());
  Attacker attacker(&host);
  const std::string tcp = absl::StrCat("tcp=", kPort);
  EXPECT_THAT(attacker.Reason(tcp), HasSubstr("socket("));
  EXPECT_THAT(attacker.Reason("namespace"), HasSubstr("unshare("));
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
                                     "list=/root",
                                     "read=/dev/mem"};
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
  const std::string uid = getuid() == 0 ? "18790" : absl::StrCat(getuid(), " ");
  EXPECT_THAT(results["identity"], AllOf(StartsWith(uid), HasSubstr(" on evil")));
  EXPECT_EQ(results["capabilities"], "none, none to be had");
  EXPECT_EQ(results["no_new_privs"], "set");
  // Not that pid, and no other of the host: they are not in its namespace.
  EXPECT_EQ(results["signal=" + kernel], "refused: No such process");
  EXPECT_EQ(results["list=/dev"], "net null shm");
  EXPECT_EQ(host_->RunInGuest("victim", "echo well").out, "well\n");
}

TEST_F(JailUnfiltered, ItsSupervisorHasWhatItNeedsAlone) {
  ASSERT_TRUE(host_->CreateAndStart("victim"));
  const int supervisor = host_->Describe("victim")["processes"]["supervisor_pid"];
  const std::string status = host_->Shell(absl::StrCat("cat /proc/", supervisor, "/status")).out;
  for (const char* set : {"CapEff:", "CapPrm:", "CapBnd:"}) {
    const size_t at = status.find(set);
    ASSERT_NE(at, std::string::npos);
    const uint64_t mask = std::stoull(status.substr(at + strlen(set)), nullptr, 16);
    EXPECT_NE(mask, 0u) << set;
    for (int capability :
         {CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_BPF, CAP_NET_RAW, CAP_SYSLOG}) {
      EXPECT_EQ(mask >> capability & 1, 0u) << set << " " << capability;
    }
  }
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
  const std::string as_a = absl::StrCat("setpriv --reuid=", uid("a"), " --regid=", uid("a"), " --clear-groups -- ");
  for (const std::string& attack :
       {"head -c 1 " + disk, "head -c 1 " + host_->state_dir() + "/umld.db", "head -c 1 " + state + "/con0.log",
        absl::StrCat("kill -0 ", b), absl::StrCat("ls /proc/", b, "/fd"), absl::StrCat("head -n 1 /proc/", b, "/maps"),
        absl::StrCat("ls /proc/", b, "/root/dev/shm"), "ls " + run, "stat " + run + "/vmcore.sock",
        "socat -u OPEN:/etc/hostname UNIX-SENDTO:" + host_->mconsole_dir() + "/b/mconsole",
        "socat -u OPEN:/dev/null UNIX-CONNECT:" + host_->socket()}) {
    EXPECT_NE(host_->Shell(as_a + attack).exit_code, 0) << attack;
    // It would work for somebody else.
    EXPECT_TRUE(Ok(host_->Shell(attack)));
  }
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
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const GuestResult result = host_->RunInGuest(
      "web1",
      "mkdir -p /tmp/h && mount -t hostfs none /tmp/h -o / && ls /tmp/h/etc /tmp/h/root /tmp/h/proc; "
      "mount -t hostfs none /tmp/h -o /../../.. && ls /tmp/h/etc; umount /tmp/h; umount /tmp/h; true");
  EXPECT_THAT(result.out, AllOf(HasSubstr("ld.so.cache"), Not(HasSubstr("passwd"))));
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
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const std::string strict = host_->Run({"describe", "web1"}).out;
  EXPECT_THAT(strict, AllOf(HasSubstr("strict"), HasSubstr("no_new_privs"), Not(HasSubstr("not in force: 18790"))));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"})));
  ASSERT_TRUE(Ok(host_->Run({"stop", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, AllOf(HasSubstr("relaxed"), Not(HasSubstr("no_new_privs"))));
  const pid_t kernel = host_->Describe("web1")["processes"]["kernel_pid"];
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
  EXPECT_THAT(attack(beside), testing::MatchesRegex(control.prevented));
  EXPECT_THAT(attack(absl::StrCat(control.name, " ", beside)), testing::MatchesRegex(fill_in(control.possible)));
  EXPECT_TRUE(Ok(host.Shell(absl::StrCat("rm ", host.run_dir(), "/removed_controls"))));
}

INSTANTIATE_TEST_SUITE_P(
    , JailControl,
    testing::Values(
        Control{"uid", "identity", "1879.*", "0 0 0 on evil", "", {}, true},
        Control{"root", "read=/etc/passwd", "refused: No such file or directory", "done"},
        Control{"capabilities", "capabilities", "none, none to be had", ".*some to be had"},
        Control{"no_new_privs", "no_new_privs", "set", "not set", "landlock"},
        Control{"ipc", absl::StrCat("queue=", kQueue), "refused: No such file or directory", "done"},
        Control{"network", absl::StrCat("tcp=", kPort), "refused: Network is unreachable", "done"},
        Control{"landlock", "signal=1", "refused: Operation not permitted", "done", "uid"},
        Control{"landlock", absl::StrCat("abstract=", kAbstract), "refused: Operation not permitted", "done",
                "network"},
        Control{"read-only", "write=WORK/disk", "refused: Read-only file system", "done", "", {"--disk", "ubdbr=disk"}},
        Control{"read-only", "create=shown/ubdb", "refused: Read-only file system", "done", "uid capabilities"},
        Control{"memory-limit", "fill=/dev/shm", "80|79", "100"}, Control{"folder-limit", "fill=kernel", "0|1", "100"},
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
        Control{"core", "limit=core", "0", "[1-9][0-9]*|unlimited"}),
    [](const testing::TestParamInfo<Control>& control) {
      std::string name =
          absl::StrCat(control.param.name, "_", control.param.attack.substr(0, control.param.attack.find('=')));
      for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace umld::tests
