// A program that umld takes for a UML kernel, and that tries what somebody would try who has taken over a guest's
// kernel. Each argument `attack.WHAT=TARGET` is one attempt; the answer is a line "WHAT=TARGET: RESULT" on its output,
// which is the guest's con0.
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

// What a UML kernel has and no other program.
__attribute__((section(".uml.setup.init"), used)) static const char kMark[] = "umld";

namespace {

std::string Outcome(bool done) { return done ? "done" : std::string("refused: ") + strerror(errno); }

std::string List(const std::string& path) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return Outcome(false);
  std::set<std::string> names;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') names.insert(entry->d_name);
  }
  closedir(folder);
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : " ") + name;
  return list;
}

// Puts a link to `target` where vmcore looks for this kernel's mconsole, and waits until it has looked.
std::string LinkMconsole(const std::string& target, const std::string& umid) {
  const std::string folder = "kernel/uml/" + umid;
  mkdir("kernel/uml", 0700);
  mkdir(folder.c_str(), 0700);
  const bool linked = symlink(target.c_str(), (folder + "/mconsole").c_str()) == 0;
  if (linked) sleep(7);
  return Outcome(linked);
}

std::string Connect(int type, const std::string& path, bool abstract) {
  const int fd = socket(AF_UNIX, type, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  char* name = address.sun_path + (abstract ? 1 : 0);
  strncpy(name, path.c_str(), sizeof(address.sun_path) - 2);
  const socklen_t size = abstract ? static_cast<socklen_t>(sizeof(sa_family_t) + 1 + path.size()) : sizeof(address);
  return Outcome(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
}

std::string Tcp(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return Outcome(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
}

// How many MiB it could write into a folder before it was stopped, 100 at most: more would be over its memory limit.
std::string Fill(const std::string& folder) {
  static char block[1 << 20];
  memset(block, 'x', sizeof(block));
  const int fd = open((folder + "/flood").c_str(), O_WRONLY | O_CREAT, 0600);
  if (fd < 0) return Outcome(false);
  int written = 0;
  while (written < 100 && write(fd, block, sizeof(block)) == static_cast<ssize_t>(sizeof(block))) ++written;
  unlink((folder + "/flood").c_str());
  return std::to_string(written);
}

std::string Files() {
  int opened = 0;
  while (opened < 100000 && dup(0) >= 0) ++opened;
  for (int fd = 100; fd < opened + 100; ++fd) close(fd);
  return std::to_string(opened);
}

// Whether a child of ours, which then has a uid that nobody else has, is all it may signal.
std::string Signal(pid_t pid) { return Outcome(kill(pid, 0) == 0); }

std::string Capabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  syscall(SYS_capget, &header, data);
  bool bounded = false;
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    bounded |= prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
  }
  const bool has = (data[0].effective | data[0].permitted | data[1].effective | data[1].permitted) != 0;
  return std::string(has ? "some" : "none") + (bounded ? ", some to be had" : ", none to be had");
}

std::string Identity() {
  uid_t real = 0, effective = 0, saved = 0;
  getresuid(&real, &effective, &saved);
  gid_t real_group = 0, effective_group = 0, saved_group = 0;
  getresgid(&real_group, &effective_group, &saved_group);
  char host[65] = {};
  gethostname(host, sizeof(host) - 1);
  return std::to_string(real) + " " + std::to_string(effective) + " " + std::to_string(saved) + " gids " +
         std::to_string(real_group) + " " + std::to_string(effective_group) + " " + std::to_string(saved_group) +
         " groups " + std::to_string(getgroups(0, nullptr)) + " on " + host;
}

// Again and again: init drops its capabilities while we begin.
std::string Trace(pid_t pid) {
  bool traced = false;
  for (int i = 0; i < 50 && !traced; ++i) {
    if (i > 0) usleep(10'000);
    traced = ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0;
    if (!traced && errno != EPERM) break;
  }
  return Outcome(traced);
}

// How many children it could have at once before it was stopped, 300 at most.
std::string Fork() {
  std::vector<pid_t> children;
  while (children.size() < 300) {
    const pid_t child = fork();
    if (child < 0) break;
    if (child == 0) {
      pause();
      _exit(0);
    }
    children.push_back(child);
  }
  for (pid_t child : children) kill(child, SIGKILL);
  for (pid_t child : children) waitpid(child, nullptr, 0);
  return std::to_string(children.size());
}

// A limit that the kernel's process could raise itself to.
std::string HardLimit(__rlimit_resource resource) {
  rlimit limit = {};
  getrlimit(resource, &limit);
  return limit.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_max);
}

// A file that is longer than anything it has, without a byte in it.
std::string Lengthen(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  const std::string outcome = Outcome(fd >= 0 && ftruncate(fd, off_t{1} << 40) == 0);
  unlink(path.c_str());
  return outcome;
}

// A control group's name is among those that this process sees itself in.
std::string SeesGroup(const std::string& name) {
  char text[4096] = {};
  const int fd = open("/proc/self/cgroup", O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) return Outcome(false);
  close(fd);
  return strstr(text, name.c_str()) != nullptr ? "done" : "hidden";
}

// As a kernel does it.
std::string AttachToTap(const std::string& name) {
  const int fd = open("/dev/net/tun", O_RDWR);
  ifreq request = {};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return Outcome(fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0);
}

// A device of one's own making, /dev/null here, that opens.
std::string OpenNode(const std::string& path) {
  if (mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) return "not made: " + Outcome(false);
  const std::string outcome = Outcome(open(path.c_str(), O_WRONLY) >= 0);
  unlink(path.c_str());
  return outcome;
}

// What a kernel says that is up and whose guest reboots at once.
std::string Reboot() {
  // The header of a notification that the mconsole is there: magic, version, kind, length.
  const uint32_t announcement[] = {0xcafebabe, 2, 0, 0};
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, "kernel/notify.sock");
  const ssize_t sent =
      sendto(fd, announcement, sizeof(announcement), 0, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const std::string outcome = Outcome(sent == static_cast<ssize_t>(sizeof(announcement)));
  puts("reboot: Restarting system");
  return outcome;
}

std::string Attempt(const std::string& what, const std::string& target, const std::string& umid) {
  const int number = atoi(target.c_str());
  if (what == "identity") return Identity();
  if (what == "capabilities") return Capabilities();
  if (what == "no_new_privs") return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? "set" : "not set";
  if (what == "read") return Outcome(open(target.c_str(), O_RDONLY | O_NONBLOCK) >= 0);
  if (what == "write") return Outcome(open(target.c_str(), O_WRONLY | O_NONBLOCK) >= 0);
  if (what == "create") return Outcome(open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0);
  if (what == "list") return List(target);
  if (what == "stream") return Connect(SOCK_STREAM, target, false);
  if (what == "packets") return Connect(SOCK_SEQPACKET, target, false);
  if (what == "datagram") return Connect(SOCK_DGRAM, target, false);
  if (what == "abstract") return Connect(SOCK_STREAM, target, true);
  if (what == "tcp") return Tcp(number);
  if (what == "signal") return Signal(number);
  if (what == "trace") return Trace(number);
  if (what == "queue") return Outcome(msgget(number, 0) >= 0);
  if (what == "fill") return Fill(target);
  if (what == "files") return Files();
  if (what == "fork") return Fork();
  if (what == "mount") return Outcome(mount("x", target.c_str(), "tmpfs", 0, nullptr) == 0);
  if (what == "device") return Outcome(mknod(target.c_str(), S_IFBLK | 0600, makedev(7, 0)) == 0);
  if (what == "limit") return HardLimit(target == "core" ? RLIMIT_CORE : RLIMIT_NPROC);
  if (what == "length") return Lengthen(target);
  if (what == "group") return SeesGroup(target);
  if (what == "tap") return AttachToTap(target);
  if (what == "node") return OpenNode(target);
  if (what == "link") return LinkMconsole(target, umid);
  if (what == "namespace") return Outcome(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
  if (what == "root") return Outcome(setuid(0) == 0);
  if (what == "reboot") return Reboot();
  return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
  asm volatile("" : : "r"(kMark));  // or the linker would leave it out
  signal(SIGXFSZ, SIG_IGN);         // to hear of it
  constexpr char kPrefix[] = "attack.";
  std::string umid;
  for (int i = 1; i < argc; ++i) {
    if (strncmp(argv[i], "umid=", 5) == 0) umid = argv[i] + 5;
  }
  for (int i = 1; i < argc; ++i) {
    if (strncmp(argv[i], kPrefix, strlen(kPrefix)) != 0) continue;
    const std::string word = argv[i] + strlen(kPrefix);
    const size_t equals = word.find('=');
    const std::string what = word.substr(0, equals),
                      target = equals == std::string::npos ? "" : word.substr(equals + 1);
    printf("%s: %s\n", word.c_str(), Attempt(what, target, umid).c_str());
    fflush(stdout);
  }
  return 0;
}
