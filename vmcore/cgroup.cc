#include "vmcore/cgroup.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/host_path.h"
#include "base/status.h"
#include "vmcore/log.h"
#include "vmcore/user_namespace.h"

namespace umld::vmcore {
namespace {

constexpr char kRecord[] = "cgroups";
constexpr size_t kMaxFile = 1 << 20;
constexpr unsigned kCpuPeriodUs = 100000;
constexpr const char* kControllers[] = {"cpu", "memory", "pids", "io"};
// Beside the guest's memory: the binary, and per process of the guest about 100 KiB of the host's kernel (measured: 25
// MiB for the 240 that a guest of 64 MiB can have before its own kernel runs out).
constexpr uint64_t kMemoryAllowance = uint64_t{64} << 20;
constexpr uint32_t kDefaultProcesses = 4096;
// Version 1 tells of a lack of memory before it does something about it.
constexpr int kLooks = 50;
constexpr std::chrono::milliseconds kBetweenLooks(20);
constexpr int kRemovals = 50;
constexpr std::chrono::milliseconds kBetweenRemovals(10);

std::string Slurp(const std::string& path) { return ReadFile(path, kMaxFile).value_or(""); }

uint64_t Number(absl::string_view text) {
  uint64_t number = 0;
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &number) ? number : 0;
}

// The last of its processes may be on its way out still.
bool RemoveGroup(const std::string& folder) {
  for (int i = 0; i < kRemovals; ++i) {
    if (rmdir(folder.c_str()) == 0 || errno == ENOENT) return true;
    // Where nothing can be written, nothing was made either.
    if (errno != EBUSY) return errno == EROFS && access(folder.c_str(), F_OK) != 0;
    std::this_thread::sleep_for(kBetweenRemovals);
  }
  return false;
}

}  // namespace

std::optional<GroupPlace> FindGroup(absl::string_view own, absl::string_view mounts, absl::string_view controller) {
  // "4:memory:/path"; "0::/path" is version 2. A controller that version 1 has, version 2 has not.
  std::string path, path2;
  bool version1 = false, version2 = false;
  for (absl::string_view line : absl::StrSplit(own, '\n')) {
    std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    std::vector<std::string> names = absl::StrSplit(fields[1], ',');
    for (const std::string& name : names) {
      if (name != controller) continue;
      version1 = true;
      path = fields[2];
    }
    if (fields[0] == "0" && fields[1].empty()) {
      version2 = true;
      path2 = fields[2];
    }
  }
  if (!version1 && !version2) return std::nullopt;
  if (!version1) path = path2;
  // "ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPEROPTIONS"
  for (absl::string_view line : absl::StrSplit(mounts, '\n')) {
    std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    std::vector<std::string> left = absl::StrSplit(halves[0], ' '), right = absl::StrSplit(halves[1], ' ');
    if (left.size() < 5 || right.size() < 3 || right[0] != (version1 ? "cgroup" : "cgroup2")) continue;
    std::vector<std::string> options = absl::StrSplit(right[2], ',');
    bool fits = !version1;
    for (const std::string& option : options) fits = fits || option == controller;
    if (!fits) continue;
    // A container sees a part of the tree.
    absl::string_view below = path;
    if (left[3] != "/" && !absl::ConsumePrefix(&below, left[3])) continue;
    while (absl::EndsWith(below, "/")) below.remove_suffix(1);
    return GroupPlace{!version1, absl::StrCat(left[4], below)};
  }
  return std::nullopt;
}

dev_t DeviceUnder(const std::string& file) {
  struct stat info = {};
  // One that is still to be made will be where its folder is.
  if (!StatHostPath(file, &info) && !StatHostPath(file.substr(0, file.rfind('/') + 1), &info)) return 0;
  const dev_t device = S_ISBLK(info.st_mode) ? info.st_rdev : info.st_dev;
  const std::string entry = absl::StrCat("/sys/dev/block/", major(device), ":", minor(device));
  const bool is_partition = access((entry + "/partition").c_str(), F_OK) == 0;
  const std::string number = Slurp(entry + (is_partition ? "/../dev" : "/dev"));
  const std::pair<std::string, std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(number), ':');
  return number.empty()
             ? 0
             : makedev(static_cast<unsigned>(Number(parts.first)), static_cast<unsigned>(Number(parts.second)));
}

v1::Limits GuestCgroups::WithDefaults(const v1::Limits& wanted, uint64_t guest_memory) {
  v1::Limits limits = wanted;
  if (limits.memory_bytes() == 0) limits.set_memory_bytes(guest_memory + guest_memory / 2 + kMemoryAllowance);
  if (limits.processes() == 0) limits.set_processes(kDefaultProcesses);
  return limits;
}

absl::Status GuestCgroups::RemoveRecorded() {
  absl::StatusOr<std::string> record = ReadFile(kRecord, kMaxFile);
  if (!record.ok()) return absl::OkStatus();
  for (absl::string_view folder : absl::StrSplit(*record, '\n', absl::SkipEmpty())) {
    if (!RemoveGroup(std::string(folder))) return ErrnoError(errno, absl::StrCat("remove the control group ", folder));
  }
  if (unlink(kRecord) != 0) return ErrnoError(errno, absl::StrCat("remove ", kRecord));
  return absl::OkStatus();
}

GuestCgroups::GuestCgroups(EventLoop* loop, absl::string_view guest, const std::string& version2_folder,
                           std::function<void()> out_of_memory)
    : loop_(loop),
      // The pid: guests of two daemons may have one name.
      name_(absl::StrCat("umld-", guest, "-", getpid())),
      out_of_memory_(std::move(out_of_memory)) {
  if (absl::Status status = RemoveRecorded(); !status.ok()) Log(status.message());
  const std::string own = Slurp("/proc/self/cgroup"), mounts = Slurp("/proc/self/mountinfo");
  std::string record;
  for (const char* name : kControllers) {
    Controller& controller = controllers_[name];
    // What version 1 calls otherwise.
    std::optional<GroupPlace> place = FindGroup(own, mounts, absl::string_view(name) == "io" ? "blkio" : name);
    if (place.has_value() && place->version2 && !version2_folder.empty()) place->folder = version2_folder;
    if (!place.has_value()) {
      controller.missing = "this host has no such controller";
      continue;
    }
    controller.version2 = place->version2;
    if (place->version2 &&
        !absl::StrContains(
            absl::StrCat(" ", absl::StripAsciiWhitespace(Slurp(place->folder + "/cgroup.controllers")), " "),
            absl::StrCat(" ", name, " "))) {
      controller.missing = absl::StrCat(place->folder, " has no such controller; it has to be delegated to umld");
      continue;
    }
    controller.folder = absl::StrCat(place->folder, "/", name_);
    if (!absl::StrContains(record, controller.folder + "\n")) absl::StrAppend(&record, controller.folder, "\n");
  }
  if (record.empty()) return;
  if (absl::Status status = WriteFileDurably(kRecord, record, 0600); !status.ok()) Log(status.message());
  for (auto& [name, controller] : controllers_) {
    if (!controller.folder.empty()) Make(name, &controller);
  }
  WatchMemory();
}

void GuestCgroups::Make(const std::string& name, Controller* controller) {
  const std::string parent = controller->folder.substr(0, controller->folder.rfind('/'));
  // Refused while processes are in the parent itself, unless it is the root.
  if (controller->version2) WriteKernelFile(parent + "/cgroup.subtree_control", "+" + name);
  if (mkdir(controller->folder.c_str(), 0755) != 0 && errno != EEXIST) {
    controller->missing = absl::StrCat("cannot make ", controller->folder, ": ", strerror(errno));
    controller->folder.clear();
    return;
  }
  if (controller->version2 && access((controller->folder + "/" + name + ".max").c_str(), F_OK) != 0) {
    controller->missing = absl::StrCat(parent, " passes no such controller on: it has processes of its own");
    controller->folder.clear();
    return;
  }
  controller->entrance.reset(open((controller->folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (controller->entrance.ok()) return;
  controller->missing = absl::StrCat("cannot enter ", controller->folder, ": ", strerror(errno));
  controller->folder.clear();
}

// A process that is killed for memory need not be the kernel's first: without its stub or its helper a guest would go
// on in a way that nobody wants.
void GuestCgroups::WatchMemory() {
  const Controller& memory = controllers_["memory"];
  if (memory.folder.empty()) return;
  if (memory.version2) {
    WriteKernelFile(memory.folder + "/memory.oom.group", "1");
    event_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    inotify_add_watch(event_.get(), (memory.folder + "/memory.events").c_str(), IN_MODIFY);
  } else {
    event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    UniqueFd control(open((memory.folder + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
    if (!WriteKernelFile(memory.folder + "/cgroup.event_control", absl::StrCat(event_.get(), " ", control.get())))
      return;
  }
  loop_->Watch(event_.get(), EPOLLIN, [this](uint32_t) {
    char buffer[4096];
    while (read(event_.get(), buffer, sizeof(buffer)) > 0) {
    }
    loop_->Cancel(std::exchange(look_timer_, 0));
    LookForKill(kLooks);
  });
}

void GuestCgroups::LookForKill(int looks) {
  if (!Reason().empty()) return out_of_memory_();
  if (looks > 0) look_timer_ = loop_->RunAfter(kBetweenLooks, [this, looks] { LookForKill(looks - 1); });
}

GuestCgroups::~GuestCgroups() { Remove(); }

void GuestCgroups::Remove() {
  loop_->Cancel(std::exchange(look_timer_, 0));
  if (event_.ok()) loop_->Unwatch(event_.get());
  event_.reset();
  for (auto& [name, controller] : controllers_) {
    controller.entrance.reset();
    controller.folder.clear();
    controller.missing = "the guest has ended";
  }
  if (absl::Status status = RemoveRecorded(); !status.ok()) Log(status.message());
}

std::vector<int> GuestCgroups::entrances() const {
  std::vector<int> fds;
  std::set<std::string> entered;
  for (const auto& [name, controller] : controllers_) {
    if (controller.entrance.ok() && entered.insert(controller.folder).second) fds.push_back(controller.entrance.get());
  }
  return fds;
}

std::string GuestCgroups::Read(const std::string& controller, const char* version1, const char* version2) const {
  const Controller& found = controllers_.at(controller);
  if (found.folder.empty()) return "";
  return Slurp(absl::StrCat(found.folder, "/", found.version2 ? version2 : version1));
}

uint64_t GuestCgroups::Count(const std::string& controller, const char* version1, const char* version2,
                             absl::string_view word) const {
  const std::string text = Read(controller, version1, version2);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, absl::StrCat(word, " "))) return Number(line);
  }
  return 0;
}

absl::Status GuestCgroups::SetFile(const std::string& controller, const std::string& file, const std::string& value,
                                   bool named) {
  const Controller& found = controllers_.at(controller);
  std::string why = found.missing;
  if (!found.folder.empty()) {
    const std::string path = absl::StrCat(found.folder, "/", file);
    if (WriteKernelFile(path, value)) return absl::OkStatus();
    why = absl::StrCat(path, ": ", strerror(errno));
  }
  if (!named) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("the ", controller, " limit cannot be put in force: ", why),
                   {"LIMIT_UNAVAILABLE", "",
                    "`umlctl describe` shows which limits are in force; without this one the "
                    "guest starts"});
}

absl::Status GuestCgroups::Set(const std::string& controller, const std::string& value, bool named) {
  const Controller& found = controllers_.at(controller);
  if (found.version2) {
    // Not by swapping either.
    if (controller == "memory") SetFile(controller, "memory.swap.max", "0", /*named=*/false).IgnoreError();
    return SetFile(controller, controller + ".max", value, named);
  }
  if (controller == "cpu") return SetFile(controller, "cpu.cfs_quota_us", value, named);
  if (controller == "pids") return SetFile(controller, "pids.max", value, named);
  // The limit with swap is never below the one without: which goes first depends on which way they go. Not every host
  // counts swap.
  constexpr char kWithSwap[] = "memory.memsw.limit_in_bytes";
  SetFile(controller, kWithSwap, value, /*named=*/false).IgnoreError();
  RETURN_IF_ERROR(SetFile(controller, "memory.limit_in_bytes", value, named));
  const bool counts_swap = access(absl::StrCat(found.folder, "/", kWithSwap).c_str(), F_OK) == 0;
  return counts_swap ? SetFile(controller, kWithSwap, value, named) : absl::OkStatus();
}

absl::Status GuestCgroups::Apply(const v1::Limits& wanted, uint64_t guest_memory) {
  const v1::Limits limits = WithDefaults(wanted, guest_memory);
  // What does not fit would be answered by the host with the death of the guest (version 2), or not at all (1).
  const uint64_t anonymous =
      Count("memory", "memory.stat", "memory.stat", "shmem") +
      Count("memory", "memory.stat", "memory.stat", controllers_.at("memory").version2 ? "anon" : "rss");
  if (limits.memory_bytes() < anonymous) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the guest uses ", FormatByteSize(anonymous), " of memory, more than the limit of ",
                                  FormatByteSize(limits.memory_bytes())),
                     {"LIMIT_TOO_LOW", "", "take memory from it first (umlctl plug GUEST mem=-32M), or restart it"});
  }
  limits_ = limits;
  const std::string quota =
      limits.cpu_percent() == 0 ? std::string() : absl::StrCat(uint64_t{limits.cpu_percent()} * (kCpuPeriodUs / 100));
  std::string cpu;
  if (controllers_.at("cpu").version2) {
    cpu = absl::StrCat(quota.empty() ? "max" : quota, " ", kCpuPeriodUs);
  } else {
    cpu = quota.empty() ? "-1" : quota;
  }
  absl::Status result = Set("cpu", cpu, limits.cpu_percent() != 0);
  result.Update(Set("memory", absl::StrCat(limits.memory_bytes()), wanted.memory_bytes() != 0));
  result.Update(Set("pids", absl::StrCat(limits.processes()), wanted.processes() != 0));
  result.Update(LimitDisks());
  return result;
}

absl::Status GuestCgroups::CoverDisks(const std::vector<std::string>& files) {
  const std::set<dev_t> before = devices_;
  uncovered_disk_.clear();
  for (const std::string& file : files) {
    const dev_t device = DeviceUnder(file);
    if (device == 0) {
      uncovered_disk_ = file;
    } else {
      devices_.insert(device);
    }
  }
  return devices_ == before && uncovered_disk_.empty() ? absl::OkStatus() : LimitDisks();
}

absl::Status GuestCgroups::LimitDisks() {
  const uint64_t bytes = limits_.disk_bytes_per_second();
  const uint32_t operations = limits_.disk_operations_per_second();
  const bool named = bytes != 0 || operations != 0;
  if (!named && !disks_limited_) return absl::OkStatus();
  disks_limited_ = true;
  const Controller& io = controllers_.at("io");
  absl::Status result;
  for (dev_t device : devices_) {
    const std::string of = absl::StrCat(major(device), ":", minor(device), " ");
    if (io.version2) {
      auto most = [](uint64_t number) { return number == 0 ? std::string("max") : absl::StrCat(number); };
      result.Update(Set("io",
                        absl::StrCat(of, "rbps=", most(bytes), " wbps=", most(bytes), " riops=", most(operations),
                                     " wiops=", most(operations)),
                        named));
      continue;
    }
    for (const auto& [file, number] : {std::pair<const char*, uint64_t>{"read_bps", bytes},
                                       {"write_bps", bytes},
                                       {"read_iops", operations},
                                       {"write_iops", operations}}) {
      result.Update(SetFile("io", absl::StrCat("blkio.throttle.", file, "_device"), absl::StrCat(of, number), named));
    }
  }
  if (result.ok() && named && !uncovered_disk_.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the disk limit cannot be put in force: ", uncovered_disk_,
                                  " is on no block device that the host could limit"),
                     {"LIMIT_UNAVAILABLE", uncovered_disk_, "keep it on a disk of the host, or leave out the limit"});
  }
  return result;
}

std::string GuestCgroups::Reason() const {
  if (Count("memory", "memory.oom_control", "memory.events", "oom_kill") > killed_before_) {
    return absl::StrCat("out of memory: its limit is ", FormatByteSize(limits_.memory_bytes()));
  }
  return "";
}

std::string GuestCgroups::TakeReason() {
  std::string reason = Reason();
  killed_before_ = Count("memory", "memory.oom_control", "memory.events", "oom_kill");
  return reason;
}

void GuestCgroups::AddFacts(v1::Facts* facts) const {
  auto add = [&](const char* name, const std::string& limit) {
    const Controller& controller = controllers_.at(name);
    v1::ConfinementPoint* point = facts->add_confinement_points();
    point->set_name(absl::StrCat(name, " limit"));
    point->set_in_force(!controller.folder.empty());
    point->set_detail(controller.folder.empty() ? controller.missing : limit);
  };
  add("cpu", limits_.cpu_percent() == 0 ? "none" : absl::StrCat(limits_.cpu_percent(), "%"));
  add("memory", HumanByteSize(limits_.memory_bytes()));
  add("pids", absl::StrCat(limits_.processes(), " processes"));
  std::vector<std::string> disk;
  if (limits_.disk_bytes_per_second() != 0) disk.push_back(HumanByteSize(limits_.disk_bytes_per_second()) + "/s");
  if (limits_.disk_operations_per_second() != 0)
    disk.push_back(absl::StrCat(limits_.disk_operations_per_second(), " operations/s"));
  add("io", disk.empty() ? "none" : absl::StrJoin(disk, ", "));
}

}  // namespace umld::vmcore
