#include "umld/host_service.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "google/protobuf/util/time_util.h"
#include "kernel/kernel_inspect.h"
#include "umld/caller.h"
#include "umld/disk_files.h"
#include "umld/grpc_status.h"
#include "umld/guest_cgroup.h"
#include "umld/operation_service.h"
#include "umld/version.h"

namespace umld {
namespace {

v1::HostCheck Check(const char* name, bool ok, std::string detail, std::string remedy) {
  v1::HostCheck check;
  check.set_name(name);
  check.set_ok(ok);
  check.set_detail(std::move(detail));
  if (!ok) check.set_remedy(std::move(remedy));
  return check;
}

v1::HostCheck CheckKernel(const std::string& path) {
  absl::Status status = kernel::InspectKernel(path);
  return Check("kernel", status.ok(), status.ok() ? path : std::string(status.message()), GetErrorDetail(status).hint);
}

// A confined guest's memory is on a tmpfs of its own.
v1::HostCheck CheckMemory() {
  const std::string meminfo = ReadFile("/proc/meminfo", 64 << 10).value_or("");
  uint64_t free_kib = 0;
  for (absl::string_view line : absl::StrSplit(meminfo, '\n')) {
    if (!absl::ConsumePrefix(&line, "MemAvailable:")) continue;
    line = absl::StripAsciiWhitespace(line);
    absl::ConsumeSuffix(&line, " kB");
    if (!absl::SimpleAtoi(line, &free_kib)) free_kib = 0;
  }
  return Check("guest memory", free_kib >= 64 << 10, absl::StrCat(HumanByteSize(free_kib << 10), " available"),
               "stop guests, or lend their memory back (umlctl plug GUEST mem=-64M)");
}

// A relaxed guest's memory is a file there, mapped executable.
v1::HostCheck CheckMemoryFolder() {
  struct statvfs info = {};
  if (statvfs("/dev/shm", &info) != 0) {
    return Check("guest memory", false, "/dev/shm is missing", "mount a tmpfs on /dev/shm");
  }
  const uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  if ((info.f_flag & ST_NOEXEC) != 0) {
    return Check("guest memory", false, "/dev/shm is mounted noexec", "mount -o remount,exec /dev/shm");
  }
  return Check("guest memory", free_bytes >= (uint64_t{64} << 20),
               absl::StrCat(HumanByteSize(free_bytes), " free in /dev/shm"),
               "stop guests, or enlarge it: mount -o remount,size=75% /dev/shm");
}

v1::HostCheck CheckIsolation() {
  if (geteuid() == 0) return Check("isolation", true, "pid namespace", "");
  absl::StatusOr<std::string> most = ReadFile("/proc/sys/user/max_user_namespaces", 32);
  absl::StatusOr<std::string> allowed = ReadFile("/proc/sys/kernel/unprivileged_userns_clone", 32);
  const bool ok = most.ok() && !absl::StartsWith(*most, "0") && (!allowed.ok() || absl::StartsWith(*allowed, "1"));
  return Check("isolation", ok, ok ? "user namespace" : "process group only: user namespaces are switched off",
               "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000");
}

// By making a jail, as for a guest; a process of a few milliseconds.
v1::HostCheck CheckConfinement(const DaemonConfig& config) {
  constexpr std::chrono::seconds kPatience(10);
  const absl::StatusOr<uint32_t> uid = config.GuestUid(0);
  if (!uid.ok())
    return Check("confinement", false, std::string(uid.status().message()), GetErrorDetail(uid.status()).hint);
  absl::StatusOr<CommandResult> tried =
      RunCommand({config.vmcore_path, "--check-confinement", config.state_dir, absl::StrCat(*uid)}, kPatience);
  if (!tried.ok()) return Check("confinement", false, std::string(tried.status().message()), "");
  if (tried->exit_code == 0) {
    std::vector<std::string> without;
    for (absl::string_view line : absl::StrSplit(tried->output, '\n')) {
      if (absl::ConsumePrefix(&line, "not in force: ")) without.emplace_back(line);
    }
    return Check("confinement", true,
                 absl::StrCat(*uid == 0 ? "in a user namespace" : "with uids of their own",
                              without.empty() ? "" : "; not in force: ", absl::StrJoin(without, "; ")),
                 "");
  }
  const std::pair<std::string, std::string> said = absl::StrSplit(tried->output, absl::MaxSplits('\n', 1));
  return Check("confinement", false, said.first, std::string(absl::StripAsciiWhitespace(said.second)));
}

// "cpu, pids": those of `needed` that are not in the list `there`.
std::string Missing(const std::vector<std::string>& needed, const std::vector<std::string>& there) {
  std::vector<std::string> missing;
  for (const std::string& controller : needed) {
    if (std::find(there.begin(), there.end(), controller) == there.end()) missing.push_back(controller);
  }
  return absl::StrJoin(missing, ", ");
}

// Whether limits of guests can be put in force.
v1::HostCheck CheckLimits() {
  constexpr size_t kMaxFile = 1 << 20;
  constexpr char kEnable[] = "have the host's kernel offer them: CONFIG_CGROUPS, cgroup_disable= on its command line";
  const std::string own = ReadFile("/proc/self/cgroup", kMaxFile).value_or("");
  const std::vector<std::string> version1 = absl::StrSplit(own, absl::ByAnyChar(":,\n"));
  if (std::find(version1.begin(), version1.end(), "memory") != version1.end()) {
    if (geteuid() != 0) {
      return Check("limits", false, "control groups of version 1 are root's alone",
                   "run umld as root, or guests without limits");
    }
    const std::string missing = Missing({"memory", "cpu", "pids", "blkio"}, version1);
    return Check("limits", missing.empty(),
                 absl::StrCat("control groups, version 1", missing.empty() ? "" : ", without ", missing), kEnable);
  }
  const std::string folder = GuestCgroupFolder();
  const std::string controllers(
      absl::StripAsciiWhitespace(ReadFile(folder + "/cgroup.controllers", kMaxFile).value_or("")));
  if (!folder.empty() && !controllers.empty()) {
    // systemd gives an ordinary user's manager no more than these without being asked.
    const std::vector<std::string> there = absl::StrSplit(controllers, ' ');
    const std::string missing = Missing({"memory", "pids"}, there);
    return Check(
        "limits", missing.empty(),
        absl::StrCat("control groups, version 2: ", controllers, missing.empty() ? "" : "; not delegated: ", missing),
        "Delegate=yes for umld-guests.service (deploy/systemd), and for a user's manager: user@.service");
  }
  return Check("limits", false, "no control group is delegated to umld, so guests have no limits",
               "run umld as the unit umld.service, beside umld-guests.service (deploy/systemd)");
}

v1::HostCheck CheckProgram(const char* name, const std::vector<std::string>& paths, const char* package) {
  for (const std::string& path : paths) {
    if (access(path.c_str(), X_OK) == 0) return Check(name, true, path, "");
  }
  return Check(name, false, absl::StrCat(paths[0], " is missing"), absl::StrCat("apt-get install ", package));
}

v1::HostCheck CheckStateFolder(const std::string& folder) {
  struct statvfs info = {};
  if (statvfs(folder.c_str(), &info) != 0) return Check("state folder", false, folder + " cannot be read", "make it");
  const uint64_t free_bytes = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  return Check("state folder", free_bytes >= (uint64_t{100} << 20),
               absl::StrCat(folder, ", ", HumanByteSize(free_bytes), " free"), "free space on its filesystem");
}

absl::StatusOr<v1::DiskFile> MakeDiskFile(const v1::CreateDiskFileRequest& request) {
  const std::string& path = request.path();
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", path, "\" is not an absolute path"),
                     {"INVALID_PATH", path, "begin it with a slash"});
  }
  if (request.size_bytes() < 512 || request.size_bytes() % 512 != 0 || request.size_bytes() > (uint64_t{1} << 60)) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(request.size_bytes(), " bytes is no size for a disk"),
                     {"INVALID_SIZE", path, "give a multiple of 512 bytes, such as 1G"});
  }
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  if (ftruncate(fd.get(), static_cast<off_t>(request.size_bytes())) != 0 || fsync(fd.get()) != 0) {
    const int error = errno;
    unlink(path.c_str());
    if (error == EFBIG) {
      return MakeError(
          absl::StatusCode::kInvalidArgument,
          absl::StrCat(path, ": the filesystem cannot hold a file of ", HumanByteSize(request.size_bytes())),
          {"INVALID_SIZE", path, "make it smaller"});
    }
    return ErrnoError(error, absl::StrCat("size ", path));
  }
  struct stat info = {};
  fstat(fd.get(), &info);
  v1::DiskFile file;
  file.set_path(path);
  file.set_size_bytes(request.size_bytes());
  file.set_allocated_bytes(static_cast<uint64_t>(info.st_blocks) * 512);
  return file;
}

}  // namespace

grpc::ServerUnaryReactor* HostService::GetHost(grpc::CallbackServerContext* context, const v1::GetHostRequest*,
                                               v1::HostInfo* response) {
  return AnswerOnPool<v1::HostInfo>(context, pool_, response, [this]() -> absl::StatusOr<v1::HostInfo> {
    v1::HostInfo info;
    info.set_version(kVersion);
    *info.mutable_start_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(started_));
    info.set_state_directory(config_->state_dir);
    info.set_runtime_directory(config_->run_dir);
    info.set_mconsole_directory(config_->mconsole_dir);
    const absl::StatusOr<KernelChoice> kernel = catalog_->Choose("");
    info.set_default_kernel(kernel.ok() ? kernel->path : config_->default_kernel);
    uint32_t running = 0, all = 0;
    for (const GuestView& view : table_->Views()) {
      ++all;
      running += view.alive ? 1 : 0;
    }
    info.set_guests(all);
    info.set_guests_running(running);
    *info.add_checks() = CheckKernel(info.default_kernel());
    *info.add_checks() = config_->relaxed ? CheckMemoryFolder() : CheckMemory();
    *info.add_checks() = CheckIsolation();
    *info.add_checks() = CheckConfinement(*config_);
    *info.add_checks() = CheckLimits();
    *info.add_checks() = CheckStateFolder(config_->state_dir);
    *info.add_checks() = CheckProgram("busybox", {"/bin/busybox"}, "busybox-static");
    *info.add_checks() = CheckProgram("mke2fs", {"/sbin/mke2fs", "/usr/sbin/mke2fs"}, "e2fsprogs");
    info.set_isolation(info.checks(2).detail());
    return info;
  });
}

grpc::ServerUnaryReactor* HostService::CreateDiskFile(grpc::CallbackServerContext* context,
                                                      const v1::CreateDiskFileRequest* request,
                                                      v1::DiskFile* response) {
  return AnswerOnPool<v1::DiskFile>(context, pool_, response, [=]() -> absl::StatusOr<v1::DiskFile> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return ActAs(caller.user, [request] { return MakeDiskFile(*request); });
  });
}

grpc::ServerUnaryReactor* HostService::GetDiskFile(grpc::CallbackServerContext* context,
                                                   const v1::GetDiskFileRequest* request, v1::DiskFile* response) {
  return AnswerOnPool<v1::DiskFile>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::DiskFile> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return DescribeDiskFile(request->path(), caller, *table_);
  });
}

grpc::ServerUnaryReactor* HostService::RebaseDiskFile(grpc::CallbackServerContext* context,
                                                      const v1::RebaseDiskFileRequest* request,
                                                      v1::DiskFile* response) {
  return AnswerOnPool<v1::DiskFile>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::DiskFile> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(const std::vector<state::ImageRow> images, store_->LoadImages());
    return umld::RebaseDiskFile(*request, caller, images, table_);
  });
}

}  // namespace umld
