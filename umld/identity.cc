#include "umld/identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "base/utf8.h"
#include "guest/identity_files.h"
#include "guest/tiny_image.h"
#include "image/tool.h"
#include "spdlog/spdlog.h"
#include "umld/appliance.h"
#include "umld/identity_report.h"

namespace umld {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr uint64_t kMemory = uint64_t{128} << 20;
constexpr off_t kReportBytes = 64 << 10;
constexpr char kFilesystemSize[] = "8M";
constexpr size_t kLogTail = 2000;
// With less than this left, what went wrong went wrong for want of it.
constexpr uint64_t kFull = 1 << 20;

// All kinds that sshd has had since DSA; of one that has none of a kind, nothing is written.
constexpr std::pair<const char*, const char*> kKeys[] = {{"rsa", "3072"}, {"ecdsa", "256"}, {"ed25519", ""}};

// To the guest that writes to it, a full disk of the host is one that fails; other programs have their own words for
// it.
absl::Status OrFull(const absl::Status& status, const std::string& folder) {
  struct statvfs space = {};
  if (statvfs(folder.c_str(), &space) != 0) return status;
  const uint64_t left = uint64_t{space.f_bavail} * space.f_frsize;
  if (left >= kFull) return status;
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(kIdentityUnchanged, "No space left on the filesystem of ", folder, " (", HumanByteSize(left), ")"),
      {"NO_SPACE", folder, "free some space there, and ask again"});
}

absl::Status WriteJobFile(const std::string& path, absl::string_view content, mode_t mode) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  while (!content.empty()) {
    const ssize_t put = write(fd.get(), content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError(errno, absl::StrCat("write ", path));
    content.remove_prefix(static_cast<size_t>(put));
  }
  return fchmod(fd.get(), mode) == 0 ? absl::OkStatus() : ErrnoError(errno, path);
}

absl::Status MakeKey(const std::string& file, const std::string& kind, const std::string& bits,
                     const std::string& new_name) {
  ASSIGN_OR_RETURN(const std::string program, image::FindTool("ssh-keygen", "openssh-client"));
  image::Tool tool;
  tool.argv = {program, "-q", "-t", kind, "-N", "", "-C", absl::StrCat("root@", new_name), "-f", file};
  if (!bits.empty()) tool.argv.insert(tool.argv.end(), {"-b", bits});
  return image::RunTool(tool, nullptr).status();
}

// Where ssh-keygen is not to be had (it does nothing for a user whom the host does not know, either) init is told so:
// it matters only when there are keys.
absl::Status MakeKeys(const std::string& folder, const std::string& new_name) {
  for (const auto& [kind, bits] : kKeys) {
    const absl::Status made = MakeKey(absl::StrCat(folder, "/ssh_host_", kind, "_key"), kind, bits, new_name);
    if (made.ok()) continue;
    spdlog::warn("guest {}: no ssh host keys: {}", new_name, std::string(made.message()));
    return WriteJobFile(folder + "/no-keys", "", 0600);
  }
  return absl::OkStatus();
}

// Its root: busybox, init and the job. Small, so it is made anew each time.
absl::Status MakeRoot(const IdentityJob& job, const std::string& tree, const std::string& file) {
  ASSIGN_OR_RETURN(const std::string mke2fs, image::FindTool("mke2fs", "e2fsprogs"));
  ASSIGN_OR_RETURN(const std::string busybox, guest::ReadBusybox(guest::kDefaultBusybox));
  for (const char* folder : {"", "/bin", "/dev", "/job", "/proc", "/run", "/sys"}) {
    RETURN_IF_ERROR(MakeFolders(tree + folder, 0755));
  }
  RETURN_IF_ERROR(WriteJobFile(tree + "/bin/busybox", busybox, 0755));
  for (const EmbeddedFile& program : IdentityFiles()) {
    RETURN_IF_ERROR(WriteJobFile(tree + program.path, program.content, program.mode));
  }
  const std::string folder = tree + "/job";
  RETURN_IF_ERROR(WriteJobFile(folder + "/old-name", job.old_name + "\n", 0600));
  RETURN_IF_ERROR(WriteJobFile(folder + "/new-name", job.new_name + "\n", 0600));
  RETURN_IF_ERROR(WriteJobFile(folder + "/rootflags", job.root_flags.empty() ? "" : "rw," + job.root_flags, 0600));
  RETURN_IF_ERROR(MakeKeys(folder, job.new_name));
  image::Tool tool;
  tool.argv = {mke2fs, "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-b",
               "4096", "-m", "0",  "-d", tree,   file, kFilesystemSize};
  return image::RunTool(tool, nullptr).status();
}

// What its kernel said last, a stranger's words; for the log, as people cannot do much about it.
std::string LastWords(const std::string& log_dir) {
  absl::StatusOr<std::string> log = ReadFile(log_dir + "/con0.log", 1 << 20);
  if (!log.ok()) return "";
  return log->size() > kLogTail ? log->substr(log->size() - kLogTail) : *log;
}

absl::Status SyncFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd.ok() && fsync(fd.get()) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", path));
}

absl::StatusOr<std::vector<std::string>> Renew(const DaemonConfig& config, const GuestRuntime& runtime,
                                               KernelCatalog* catalog, const IdentityJob& job) {
  const std::string root = job.folder + "/root", answer = job.folder + "/report";
  RETURN_IF_ERROR(MakeRoot(job, job.folder + "/tree", root));
  RETURN_IF_ERROR(WriteJobFile(answer, "", 0600));
  if (truncate(answer.c_str(), kReportBytes) != 0) return ErrnoError(errno, answer);
  state::GuestRow row;
  row.name = "identity";
  row.kernel = job.kernel;
  row.kernel_opener = job.kernel_opener;
  row.memory_bytes = kMemory;
  row.kernel_args = {"init=/init"};
  row.relaxed = job.relaxed;
  row.disks.resize(3);
  row.disks[0].path = root;
  row.disks[0].flags = "r";
  row.disks[1] = job.root;
  row.disks[1].unit = 1;
  row.disks[2].path = answer;
  row.disks[2].unit = 2;
  const absl::Status ran = RunAppliance(config, runtime, catalog, row, job.run_dir, job.folder, kPatience);
  absl::StatusOr<std::vector<std::string>> notes = IdentityUnchanged(ran.message());
  if (ran.ok()) {
    ASSIGN_OR_RETURN(const std::string report, ReadFile(answer, kReportBytes));
    notes = ReadIdentityReport(report, job.new_name);
  }
  if (!notes.ok()) {
    spdlog::warn("guest {}: {}; the guest that was to change it said last:\n| {}", job.new_name,
                 std::string(notes.status().message()),
                 absl::StrReplaceAll(ToText(LastWords(job.folder)), {{"\n", "\n| "}}));
    return notes;
  }
  RETURN_IF_ERROR(SyncFile(job.root.path));
  return notes;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> RenewIdentity(const DaemonConfig& config, const GuestRuntime& runtime,
                                                       KernelCatalog* catalog, const IdentityJob& job) {
  absl::StatusOr<std::vector<std::string>> notes = Renew(config, runtime, catalog, job);
  if (!notes.ok()) return OrFull(notes.status(), job.folder);
  return notes;
}

}  // namespace umld
