#include "umld/guest_sync.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "vmcore/vmcore.pb.h"

namespace umld {
namespace {

constexpr absl::Duration kSyncPatience = absl::Seconds(10), kLookForSync = absl::Milliseconds(10);
constexpr absl::Duration kAskAgain = absl::Seconds(2);
constexpr absl::Duration kSettlePatience = absl::Seconds(2), kStillForLong = absl::Milliseconds(300);
constexpr absl::Duration kReply = absl::Seconds(12);
constexpr char kSynced[] = "Emergency Sync complete";
constexpr size_t kLogTail = 64 << 10;
constexpr int kHighestLevel = 9;
constexpr absl::Duration kBootPatience = absl::Seconds(5), kLookForFile = absl::Milliseconds(50);
constexpr char kKernelRefused[] = "KERNEL_REFUSED";

absl::StatusOr<std::string> Ask(GuestRuntime* runtime, const GuestPtr& guest, const std::string& command) {
  vmcore::v1::Request request;
  request.mutable_mconsole()->set_command(command);
  ASSIGN_OR_RETURN(const vmcore::v1::Reply reply, runtime->Call(guest, request, kReply));
  if (reply.mconsole().err() == 0) return reply.mconsole().text();
  return MakeError(absl::StatusCode::kUnavailable,
                   absl::StrCat("the kernel says of ", command, ": ", reply.mconsole().text()),
                   {kKernelRefused, "", ""});
}

// Early in its boot a kernel has no such file yet.
absl::StatusOr<std::string> ReadPrintkLevels(GuestRuntime* runtime, const GuestPtr& guest) {
  const absl::Time end = absl::Now() + kBootPatience;
  while (true) {
    absl::StatusOr<std::string> text = Ask(runtime, guest, "proc sys/kernel/printk");
    if (text.ok() || GetErrorDetail(text.status()).reason != kKernelRefused || absl::Now() >= end) return text;
    absl::SleepFor(kLookForFile);
  }
}

// The level that a quiet kernel had, when it was made to say more; nullopt: it says enough, or cannot be asked.
std::optional<int> SayMore(GuestRuntime* runtime, const GuestPtr& guest) {
  const absl::StatusOr<std::string> text = ReadPrintkLevels(runtime, guest);
  if (!text.ok()) return std::nullopt;
  const std::optional<PrintkLevels> levels = ParsePrintkLevels(*text);
  // Sync's message names no level; SysRq sets one by its digit, and can set back none but these.
  if (!levels.has_value() || levels->console > levels->messages || levels->console > kHighestLevel) return std::nullopt;
  if (!Ask(runtime, guest, absl::StrCat("sysrq ", kHighestLevel)).ok()) return std::nullopt;
  return levels->console;
}

bool WaitForMessage(const std::string& log, const struct stat& before) {
  for (const absl::Time end = absl::Now() + kAskAgain; absl::Now() < end; absl::SleepFor(kLookForSync)) {
    UniqueFd fd(open(log.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat now = {};
    if (!fd.ok() || fstat(fd.get(), &now) != 0) continue;
    // A log that has been rotated begins anew.
    const off_t from = now.st_ino == before.st_ino && now.st_size >= before.st_size ? before.st_size : 0;
    std::string tail(kLogTail, '\0');
    const ssize_t got = pread(fd.get(), tail.data(), tail.size(), from);
    if (got > 0 && absl::StrContains(absl::string_view(tail.data(), static_cast<size_t>(got)), kSynced)) return true;
  }
  return false;
}

// The kernel's word comes early: an emergency sync waits for the data of files, and only begins the commit of a
// journal, without which a new file is not there (read: do_sync_work in fs/sync.c, whose `nowait` is what ext4_sync_fs
// gets as `wait`). Nothing says when that is done. So it is watched until no disk has anything in flight and nobody is
// ready to run but the task that answers us; with somebody busy inside, until the disks stand still for a while.
void Settle(GuestRuntime* runtime, const GuestPtr& guest) {
  constexpr int kIdleLooks = 3;
  uint64_t done = 0;
  int idle = 0;
  absl::Time still_since = absl::Now();
  for (const absl::Time end = absl::Now() + kSettlePatience; absl::Now() < end; absl::SleepFor(kLookForSync)) {
    const absl::StatusOr<std::string> disks = Ask(runtime, guest, "proc diskstats");
    const absl::StatusOr<std::string> load = disks.ok() ? Ask(runtime, guest, "proc loadavg") : disks;
    if (!load.ok()) continue;
    const std::optional<DiskActivity> activity = ParseDiskActivity(*disks);
    if (!activity.has_value()) continue;
    const bool still = activity->in_flight == 0 && activity->done == done;
    done = activity->done;
    if (!still) still_since = absl::Now();
    idle = still && ParseRunning(*load) == 1 ? idle + 1 : 0;
    if (idle == kIdleLooks || absl::Now() - still_since > kStillForLong) return;
  }
}

}  // namespace

std::optional<PrintkLevels> ParsePrintkLevels(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  PrintkLevels levels;
  if (words.size() < 2 || !absl::SimpleAtoi(words[0], &levels.console) ||
      !absl::SimpleAtoi(words[1], &levels.messages) || levels.console < 0 || levels.messages < 0) {
    return std::nullopt;
  }
  return levels;
}

std::optional<DiskActivity> ParseDiskActivity(absl::string_view text) {
  // MAJOR MINOR NAME, then reads (done, merged, sectors, ms), writes (the same), in flight, ...
  constexpr size_t kName = 2, kWrites = 7, kInFlight = 11;
  std::optional<DiskActivity> all;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() <= kInFlight || !absl::StartsWith(words[kName], "ubd")) continue;
    DiskActivity disk;
    if (!absl::SimpleAtoi(words[kWrites], &disk.done) || !absl::SimpleAtoi(words[kInFlight], &disk.in_flight)) continue;
    if (!all.has_value()) all.emplace();
    all->done += disk.done;
    all->in_flight += disk.in_flight;
  }
  return all;
}

std::optional<int> ParseRunning(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  int running = 0;
  if (words.size() < 4 || !absl::SimpleAtoi(words[3].substr(0, words[3].find('/')), &running)) return std::nullopt;
  return running;
}

bool SyncGuest(GuestRuntime* runtime, const GuestTable& table, const GuestPtr& guest, const std::string& con0_log) {
  const std::optional<int> quiet = SayMore(runtime, guest);
  // The kernel answers at once and syncs afterwards; its own messages say when it is done.
  struct stat before = {};
  if (stat(con0_log.c_str(), &before) != 0) before.st_size = 0;
  bool synced = false;
  // Early in its boot it may say yes, and do nothing.
  for (const absl::Time end = absl::Now() + kSyncPatience; !synced && absl::Now() < end;) {
    const absl::Status asked = Ask(runtime, guest, "sysrq s").status();
    if (!asked.ok()) {
      spdlog::warn("guest {}: sync: {}", table.View(guest).row.name, std::string(asked.message()));
      break;
    }
    synced = WaitForMessage(con0_log, before);
  }
  if (synced) Settle(runtime, guest);
  if (quiet.has_value()) Ask(runtime, guest, absl::StrCat("sysrq ", *quiet)).IgnoreError();
  return synced;
}

}  // namespace umld
