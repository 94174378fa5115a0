#include "vmcore/jail.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/host_path.h"
#include "base/process.h"
#include "base/status.h"
#include "vmcore/jail_controls.h"
#include "vmcore/kernel_paths.h"
#include "vmcore/privileges.h"
#include "vmcore/user_namespace.h"

namespace umld::vmcore {

namespace {

// Sockets and the small files that keep a unit free. The guest's processes could fill what has no bound.
constexpr char kKernelFolderSize[] = "1m", kKernelFolderFiles[] = "256";
constexpr char kRootMode[] = "mode=0755", kRootLimits[] = ",size=1m,nr_inodes=8192";
// The memory's file has what the guest may use, and nothing else is written there.
constexpr uint64_t kMemorySlack = uint64_t{16} << 20;
constexpr rlim_t kOpenFiles = 1024;
constexpr rlim_t kProcesses = 16384;  // each process of the guest is one of the host

absl::Status Refused(const std::string& what) {
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat("this host does not let a guest be confined: ", what, ": ", strerror(errno)),
                   {"CONFINEMENT_REFUSED", "",
                    "run umld as root, allow user namespaces (user.max_user_namespaces), or create the guest with "
                    "--confinement relaxed --trust trusted"});
}

absl::Status Replaced(const std::string& path) {
  return MakeError(absl::StatusCode::kAborted, absl::StrCat(path, " was replaced by another file meanwhile"),
                   {"FILE_REPLACED", path, "plug it again when nobody changes it any more"});
}

// A tmpfs's option: to whom it belongs.
std::string Owner(uid_t uid) { return uid == 0 ? "" : absl::StrCat(",uid=", uid, ",gid=", uid); }

// The folders above a relative path.
bool MakeParents(const std::string& path) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (slash > 0 && mkdir(path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

// Something to mount a file on. A pipe, which the guest may have put there, would have us wait for its other end.
bool MakeFile(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0444)).ok();
}

// "/disks/a" as the jail's root has it.
std::string Below(const std::string& path) { return path.substr(std::min(path.find_first_not_of('/'), path.size())); }

bool SetCapabilities(uint32_t mask) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{mask, mask, 0}, {0, 0, 0}};
  return syscall(SYS_capset, &header, data) == 0;
}

bool DropBoundingSet() {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return false;
  }
  return true;
}

bool Limit(__rlimit_resource resource, rlim_t value) {
  rlimit limit = {value, value};
  rlimit now = {};
  if (getrlimit(resource, &now) == 0) limit.rlim_cur = limit.rlim_max = std::min(value, now.rlim_max);
  return setrlimit(resource, &limit) == 0;
}

// As it can be raised while the guest runs. That the guest does not is the filter's.
bool LimitFileSize(uint64_t bytes) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
  limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
  return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

// Whether a user namespace's processes are counted for themselves. Before Linux 5.14 an ordinary user's guests would
// share one limit.
bool CountsByNamespace() {
  utsname host = {};
  unsigned major = 0, minor = 0;
  return uname(&host) == 0 && sscanf(host.release, "%u.%u", &major, &minor) == 2 &&
         (major > 5 || (major == 5 && minor >= 14));
}

// Landlock is younger than the headers of our oldest host.
struct LandlockRuleset {
  uint64_t handled_access_fs, handled_access_net, scoped;
};
constexpr uint64_t kScopeAbstractSockets = 1, kScopeSignals = 2;
constexpr int kFirstScopedAbi = 6;

int LandlockAbi() { return static_cast<int>(syscall(444, nullptr, 0, 1)); }

// Signals and connections to nobody but the guest's own processes. Where the host has no Landlock the PID and the
// network namespace alone keep that.
bool ScopeToItself() {
  if (LandlockAbi() < kFirstScopedAbi) return true;
  const LandlockRuleset ruleset = {0, 0, kScopeAbstractSockets | kScopeSignals};
  UniqueFd fd(static_cast<int>(syscall(444, &ruleset, sizeof(ruleset), 0)));
  return fd.ok() && syscall(446, fd.get(), 0) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Jail>> Jail::Create(const Options& options) {
  std::unique_ptr<Jail> jail(new Jail(options));
  if (options.uid == 0) {
    if (!EnterUserNamespace()) return Refused("no user namespace");
    RETURN_IF_ERROR(DropUnneededCapabilities());
    // Its root may mount nothing in the host's. What is mounted on the host later is seen here too, if / is shared.
    if (unshare(CLONE_NEWNS) != 0) return Refused("no mount namespace");
    if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return Refused("make / a slave");
    // Beside the namespace, "." was the host's: the same folder, reached through our own mounts.
    char path[PATH_MAX];
    if (getcwd(path, sizeof(path)) == nullptr || chdir(path) != 0) return ErrnoError(errno, "enter the runtime folder");
  }
  jail->home_.reset(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  jail->root_.reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  jail->run_dir_.reset(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!jail->home_.ok() || !jail->root_.ok() || !jail->run_dir_.ok())
    return ErrnoError(errno, "open the mount namespace we are in");
  jail->landlock_ = LandlockAbi() >= kFirstScopedAbi;
  jail->counts_processes_ = options.uid != 0 || CountsByNamespace();
  return jail;
}

absl::Status Jail::Prepare(uint64_t memory_bytes) {
  KernelGone();
  shown_.clear();
  options_.memory_bytes = memory_bytes;
  file_bytes_ = memory_bytes + kMemorySlack;
  // Mounted nowhere: it goes with the last of us that holds it, and the host's mounts stay as they are.
  UniqueFd context(fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context.ok()) return Refused("open a tmpfs");
  auto set = [&context](const char* key, const std::string& value) {
    return fsconfig(context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  const bool bounded =
      IsRemoved("folder-limit") || (set("size", kKernelFolderSize) && set("nr_inodes", kKernelFolderFiles));
  const std::string owner = absl::StrCat(options_.uid);
  const bool owned = options_.uid == 0 || (set("uid", owner) && set("gid", owner));
  if (!bounded || !owned || !set("mode", "0700") ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return Refused("make a tmpfs");
  }
  kernel_folder_.reset(
      fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  if (!kernel_folder_.ok()) return Refused("mount a tmpfs");
  if ((unlink(kKernelFolder) != 0 && errno != ENOENT) ||
      symlink(absl::StrCat("/proc/self/fd/", kernel_folder_.get()).c_str(), kKernelFolder) != 0) {
    return ErrnoError(errno, absl::StrCat("make the link ", kKernelFolder));
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- what the kernel sees

absl::StatusOr<int> Jail::OwnerMap(uid_t uid, gid_t gid) {
  UniqueFd& map = owner_maps_[{uid, gid}];
  if (map.ok()) return map.get();
  int pidfd = -1;
  const auto pid =
      static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWUSER | CLONE_PIDFD | SIGCHLD, nullptr, &pidfd, nullptr, nullptr));
  if (pid == 0) {
    while (true) pause();
  }
  if (pid < 0) return ErrnoError(errno, "make a user namespace");
  UniqueFd owned(pidfd);
  const std::string proc = absl::StrCat("/proc/", pid);
  const bool mapped = WriteKernelFile(proc + "/uid_map", absl::StrCat(uid, " ", options_.uid, " 1\n")) &&
                      WriteKernelFile(proc + "/gid_map", absl::StrCat(gid, " ", options_.uid, " 1\n"));
  if (mapped) map.reset(open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  const int error_number = errno;
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!map.ok()) return ErrnoError(error_number, "map a file's owner to the guest");
  return map.get();
}

absl::StatusOr<Jail::Shown> Jail::Open(const std::string& path, Access access, const std::optional<Checked>& checked) {
  ASSIGN_OR_RETURN(const UniqueFd file,
                   ActAs(checked.has_value() ? checked->opener : std::nullopt, [&]() -> absl::StatusOr<UniqueFd> {
                     UniqueFd fd = OpenHostPath(path, O_PATH | O_CLOEXEC);
                     if (!fd.ok()) return ErrnoError(errno, path);
                     return fd;
                   }));
  struct stat info = {};
  if (fstat(file.get(), &info) != 0) return ErrnoError(errno, path);
  Shown shown;
  shown.path = path;
  shown.id = devices::IdOf(info);
  if (checked.has_value() && !(checked->id == shown.id)) return Replaced(path);
  shown.is_folder = S_ISDIR(info.st_mode);
  const bool writable = access == Access::kReadWrite;
  if (S_ISBLK(info.st_mode) && options_.uid != 0) {
    shown.device = info.st_rdev;
    shown.changed = info.st_mtim;
    shown.mode = static_cast<mode_t>(S_IFBLK | (writable ? 0600 : 0400));
    return shown;
  }
  shown.tree.reset(open_tree(file.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!shown.tree.ok()) return ErrnoError(errno, absl::StrCat("take a mount of ", path));
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_NOSUID | (writable || IsRemoved("read-only") ? 0 : MOUNT_ATTR_RDONLY);
  if (mount_setattr(shown.tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
    return ErrnoError(errno, absl::StrCat("confine the mount of ", path));
  }
  // What everybody may read is not worth a map.
  const mode_t others = (info.st_mode & S_IXUSR) != 0 ? S_IROTH | S_IXOTH : S_IROTH;
  if (options_.uid == 0 || info.st_uid == options_.uid || (!writable && (info.st_mode & others) == others) ||
      IsRemoved("idmap")) {
    return shown;
  }
  ASSIGN_OR_RETURN(const int map, OwnerMap(info.st_uid, info.st_gid));
  attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(map);
  if (mount_setattr(shown.tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) == 0) return shown;
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(path, ": its file system cannot lend it to the guest's own uid: ", strerror(errno)),
                   {"NO_IDMAP", path,
                    "keep it on ext4, xfs or btrfs (tmpfs: from Linux 6.3 on), or create the guest with --confinement "
                    "relaxed --trust trusted"});
}

absl::Status Jail::Show(const std::string& key, const std::string& path, Access access,
                        const std::optional<Checked>& checked) {
  for (Shown& there : shown_) {
    if (there.path != path) continue;
    if (checked.has_value() && !(checked->id == there.id)) return Replaced(path);
    there.keys.push_back(key);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Shown shown, Open(path, access, checked));
  shown.keys.push_back(key);
  if (kernel_mounts_.ok()) {
    RETURN_IF_ERROR(Inside([&]() -> absl::Status {
      return Place(shown) ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("show ", path, " to the guest"));
    }));
    shown.tree.reset();
  }
  shown_.push_back(std::move(shown));
  return absl::OkStatus();
}

void Jail::Hide(const std::string& key) {
  for (Shown& file : shown_) {
    if (auto mine = std::find(file.keys.begin(), file.keys.end(), key); mine != file.keys.end()) file.keys.erase(mine);
  }
  auto gone = std::stable_partition(shown_.begin(), shown_.end(), [](const Shown& file) { return !file.keys.empty(); });
  if (kernel_mounts_.ok() && gone != shown_.end()) {
    Inside([&]() -> absl::Status {
      for (auto file = gone; file != shown_.end(); ++file) {
        const std::string path = Below(file->path);
        if (file->device == 0) umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
        unlink(path.c_str());
      }
      return absl::OkStatus();
    }).IgnoreError();
  }
  shown_.erase(gone, shown_.end());
}

absl::Status Jail::AllowFileSize(uint64_t bytes) {
  if (bytes <= file_bytes_) return absl::OkStatus();
  if (kernel_mounts_.ok()) {
    const pid_t child = fork();
    if (child == 0) RaiseFileLimits(bytes);
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (child < 0 || status != 0) {
      return MakeError(absl::StatusCode::kUnavailable,
                       "the guest's processes could not be let write so large a file, or they become too many",
                       {"FILE_LIMIT", "", "try again, or stop the guest and attach the disk before its next start"});
    }
  }
  file_bytes_ = bytes;
  return absl::OkStatus();
}

void Jail::RaiseFileLimits(uint64_t bytes) const {
  // Those that have disks open are there from the kernel's first moment on, before all stubs.
  std::vector<pid_t> processes = ChildrenOf(init_);
  for (size_t i = 0; i < processes.size() && processes.size() <= kProcesses; ++i) {
    const std::vector<pid_t> children = ChildrenOf(processes[i]);
    processes.insert(processes.end(), children.begin(), children.end());
  }
  // Who has all of a process's ids may change its limits, up to the hard one. A stub that is born meanwhile writes no
  // disk.
  const bool theirs =
      options_.uid == 0 || (setgroups(0, nullptr) == 0 && setresgid(options_.uid, options_.uid, options_.uid) == 0 &&
                            setresuid(options_.uid, options_.uid, options_.uid) == 0);
  if (!theirs || processes.empty()) _exit(1);
  for (pid_t pid : processes) {
    rlimit limit = {};
    // One that has ended meanwhile is no failure, and a limit that is none is not the guest's.
    if (prlimit(pid, RLIMIT_FSIZE, nullptr, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    limit.rlim_cur = std::min(std::max<rlim_t>(limit.rlim_cur, bytes), limit.rlim_max);
    if (prlimit(pid, RLIMIT_FSIZE, &limit, nullptr) != 0 && errno != ESRCH) _exit(1);
  }
  _exit(0);
}

absl::Status Jail::Give(const std::string& path) const {
  if (options_.uid == 0 || lchown(path.c_str(), options_.uid, options_.uid) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("give ", path, " to the guest"));
}

bool Jail::Place(const Shown& file) const {
  const std::string path = Below(file.path);
  if (!MakeParents(path)) return false;
  if (file.device != 0) {
    // All in one folder, whatever the guest makes of the way there meanwhile.
    const size_t slash = path.rfind('/');
    const UniqueFd folder(
        open(slash == std::string::npos ? "." : path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const char* const node = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
    const timespec times[] = {{0, UTIME_OMIT}, file.changed};
    return mknodat(folder.get(), node, file.mode, file.device) == 0 &&
           fchownat(folder.get(), node, options_.uid, options_.uid, AT_SYMLINK_NOFOLLOW) == 0 &&
           utimensat(folder.get(), node, times, AT_SYMLINK_NOFOLLOW) == 0;
  }
  if (file.is_folder) {
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return false;
  } else if (!MakeFile(path)) {
    return false;
  }
  return move_mount(file.tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

template <typename Action>
absl::Status Jail::Inside(const Action& action) {
  if (setns(kernel_mounts_.get(), CLONE_NEWNS) != 0) return ErrnoError(errno, "enter the guest's mount namespace");
  const mode_t mask = umask(0022);
  absl::Status status = action();
  umask(mask);
  // Elsewhere this process cannot do its work, so there is nothing to go on with.
  const bool back = setns(home_.get(), CLONE_NEWNS) == 0 && fchdir(root_.get()) == 0 && chroot(".") == 0 &&
                    fchdir(run_dir_.get()) == 0;
  if (!back) _exit(1);
  return status;
}

absl::Status Jail::KernelStarted(pid_t init) {
  init_ = init;
  for (Shown& file : shown_) file.tree.reset();
  kernel_mounts_.reset(open(absl::StrCat("/proc/", init, "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
  return kernel_mounts_.ok() ? absl::OkStatus() : ErrnoError(errno, "open the guest's mount namespace");
}

void Jail::KernelGone() { kernel_mounts_.reset(); }

// ---------------------------------------------------------------- in the child

uint64_t Jail::Namespaces() {
  auto unless_removed = [](const char* control, uint64_t flag) { return IsRemoved(control) ? 0 : flag; };
  return CLONE_NEWNS | unless_removed("pid", CLONE_NEWPID) | unless_removed("uts", CLONE_NEWUTS) |
         unless_removed("network", CLONE_NEWNET) | unless_removed("cgroup", CLONE_NEWCGROUP) |
         unless_removed("ipc", CLONE_NEWIPC);
}

absl::Status Jail::NoNamespaces(int error_number) {
  return MakeError(
      absl::StatusCode::kPermissionDenied,
      absl::StrCat("this host gives the guest no namespaces of its own (mount, PID, network, IPC, UTS, cgroup): ",
                   strerror(error_number)),
      {"CONFINEMENT_REFUSED", "",
       "run umld as root, allow more of them (`sysctl user` shows user.max_net_namespaces and the like), or "
       "create the guest with --confinement relaxed --trust trusted"});
}

absl::Status Jail::CheckNamespaces() {
  const auto child = static_cast<pid_t>(syscall(SYS_clone, Namespaces() | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) _exit(0);
  if (child < 0) return NoNamespaces(errno);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return absl::OkStatus();
}

const char* Jail::EnterNamespaces() const {
  umask(0022);
  // Nothing that is done here may reach the host's mounts.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "make the mounts private";
  // What a console or serial line that leads nowhere is opened as. Not made as a node, which a container may forbid.
  UniqueFd null(open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!null.ok()) return "take /dev/null";
  // The new root: over the folder we are in, since it has to be somewhere. No nodev: disks that are block devices.
  char here[PATH_MAX];
  if (getcwd(here, sizeof(here)) == nullptr) return "getcwd";
  const std::string root = absl::StrCat(kRootMode, IsRemoved("root-limit") ? "" : kRootLimits);
  if (mount("umld", here, "tmpfs", MS_NOSUID, root.c_str()) != 0) return "mount a root";
  if (chdir(here) != 0) return "enter the new root";
  // The guest's memory, and no more than that. First, for the runtime directory may be below the host's /dev/shm.
  const uint64_t most = IsRemoved("memory-limit") ? 2 * options_.memory_bytes : options_.memory_bytes;
  const std::string memory = absl::StrCat("mode=0700,nr_inodes=64,size=", most + kMemorySlack, Owner(options_.uid));
  const unsigned long nodev = IsRemoved("nodev") ? 0 : MS_NODEV;
  if (!MakeParents("dev/shm/") || mount("umld", "dev/shm", "tmpfs", MS_NOSUID | nodev, memory.c_str()) != 0) {
    return "mount the guest's memory";
  }
  // The working directory keeps its path: so do relative ones, and people see whose process it is.
  const std::string folder = Below(absl::StrCat(here, "/", kKernelFolder));
  if (!MakeParents(folder + "/") ||
      move_mount(kernel_folder_.get(), "", AT_FDCWD, folder.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return "show the kernel its folder";
  }
  if (!MakeFile("dev/null") || move_mount(null.get(), "", AT_FDCWD, "dev/null", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return "show /dev/null";
  }
  // What a kernel opens before it asks for a tap. Any file does: the answer is another one (tap_request.h).
  if (!MakeParents("dev/net/tun") || symlink("../null", "dev/net/tun") != 0) return "show /dev/net/tun";
  for (const Shown& file : shown_) {
    if (!Place(file)) return "show the kernel its files";
  }
  // The host's files go: the old root comes to lie on top of the new one, and is taken off.
  if (IsRemoved("root")) return nullptr;
  if (syscall(SYS_pivot_root, ".", ".") != 0) return "pivot_root";
  if (umount2(".", MNT_DETACH) != 0 || chdir(here) != 0) return "leave the host's root";
  // The host's name is not the guest's business.
  if (!IsRemoved("uts") && sethostname(options_.name.data(), options_.name.size()) != 0) return "sethostname";
  return nullptr;
}

const char* Jail::ForbidTracing() const {
  // The kernel's processes have another uid, or ours.
  if (!IsRemoved("undumpable") && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return "be undumpable";
  return nullptr;
}

const char* Jail::DropInitPrivileges() const {
  if (IsRemoved("init-privileges")) return nullptr;
  if (!DropBoundingSet()) return "drop the bounding set of init";
  // One more than a kernel that has our uid: nobody traces who has more than himself.
  const uint32_t kept = IsRemoved("init-capability") ? 0 : uint32_t{1} << CAP_KILL;
  if (!SetCapabilities(kept)) return "drop the capabilities of init";
  return nullptr;
}

const char* Jail::DropPrivileges() const {
  if (!IsRemoved("capabilities") && !DropBoundingSet()) return "drop the bounding set";
  if (options_.uid != 0 && !IsRemoved("uid")) {
    // A uid that owns nothing, and is no other guest's.
    if (setgroups(0, nullptr) != 0) return "setgroups";
    if (setresgid(options_.uid, options_.uid, options_.uid) != 0) return "setresgid";
    if (setresuid(options_.uid, options_.uid, options_.uid) != 0) return "setresuid";
  }
  if (counts_processes_ && !IsRemoved("processes") && !Limit(RLIMIT_NPROC, kProcesses)) return "limit the processes";
  if (!IsRemoved("capabilities") && !SetCapabilities(0)) return "drop the capabilities";
  if (!IsRemoved("file-size") && !LimitFileSize(file_bytes_)) return "limit the size of files";
  if (!IsRemoved("open-files") && !Limit(RLIMIT_NOFILE, kOpenFiles)) return "limit the open files";
  // No program that it runs gets more than it has.
  if (!IsRemoved("no_new_privs") && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "set no_new_privs";
  if (!IsRemoved("landlock") && !ScopeToItself()) return "landlock";
  return nullptr;
}

// ---------------------------------------------------------------- facts

void Jail::AddFacts(v1::Facts* facts) const {
  auto add = [facts](const char* name, bool in_force, const std::string& detail) {
    v1::ConfinementPoint* point = facts->add_confinement_points();
    point->set_name(name);
    point->set_in_force(in_force);
    point->set_detail(detail);
  };
  if (options_.uid != 0) {
    add("uid", true, absl::StrCat(options_.uid, ", which owns no file of the host"));
  } else {
    add("uid", false, "umld's own, in a user namespace: an ordinary user has no other");
  }
  add("root", true, "a tmpfs with the kernel, its libraries and its disks");
  add("namespaces", true, "mount, PID, network, IPC, UTS, cgroup");
  add("capabilities", true, "none, and none to be had (no_new_privs)");
  add("limits", true,
      absl::StrCat(kOpenFiles, " open files, ", counts_processes_ ? absl::StrCat(kProcesses, " processes, ") : "",
                   "files no longer than its disks, memory of its configured size"));
  add("landlock", landlock_,
      landlock_ ? "signals and abstract sockets of its own processes alone"
                : "this host has none of version 6 or later");
}

}  // namespace umld::vmcore
