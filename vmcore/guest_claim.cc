// A kernel that was booted before its guest was known, and becomes that guest's: the warm pool's half of vmcore.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/nic/nic_spec.h"
#include "vmcore/console_layout.h"
#include "vmcore/disk_message.h"
#include "vmcore/guest.h"
#include "vmcore/kernel_command_line.h"
#include "vmcore/log.h"
#include "vmcore/records.h"
#include "vmcore/unix_clock.h"

namespace umld::vmcore {
namespace {

constexpr std::chrono::seconds kDecideAtMost(10);
// Below the runtime directory, as umld names it for a vmcore that waits.
constexpr char kWaitingLogs[] = "log";

absl::Status Unfit(absl::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the kernel that waits has another ", what),
                   {"CLAIM_UNFIT", "", ""});
}

// stderr goes where the logs of a guest's own vmcore are.
absl::Status MoveOwnLog(const std::string& folder) {
  const std::string path = folder + "/vmcore.log";
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.ok() || dup2(fd.get(), STDERR_FILENO) < 0) return ErrnoError(errno, absl::StrCat("open ", path));
  return absl::OkStatus();
}

void RemoveWords(std::vector<std::string>* argv, const std::vector<absl::string_view>& prefixes) {
  const auto has_prefix = [&](const std::string& word) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](absl::string_view prefix) { return absl::StartsWith(word, prefix); });
  };
  argv->erase(std::remove_if(argv->begin(), argv->end(), has_prefix), argv->end());
}

}  // namespace

absl::Status Guest::PrepareToWait(std::vector<std::string>* argv, std::vector<int>* terminals) {
  ClaimLine::Callbacks callbacks;
  callbacks.waiting = [this] { OnWaiting(); };
  callbacks.decided = [this](const absl::Status& status) { OnDecided(status); };
  ASSIGN_OR_RETURN(claim_line_, ClaimLine::Create(loop_, std::move(callbacks)));
  // It has no name yet.
  RemoveWords(argv, {"hostname=", "systemd.hostname="});
  argv->push_back(ClaimLine::KernelArgument(TerminalFd(terminals->size())));
  terminals->push_back(claim_line_->kernel_end());
  return absl::OkStatus();
}

// Whatever can be done before the guest is known is done now.
void Guest::OnWaiting() {
  if (disks_ == nullptr) return;
  booted_ = true;
  disks_->MakeRoom([this](const absl::Status& status) {
    if (!status.ok()) return Log(absl::StrCat("ubda is not free: ", status.message()));
    waits_ = true;
    Log("waits for a guest");
    Announce();
  });
}

void Guest::OnLauncherGone() {
  if (IsUnclaimed()) Kill().IgnoreError();
}

absl::Status Guest::CheckClaim(const v1::Launch& launch) const {
  if (!waits_) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "this kernel does not wait for a guest",
                     {"CLAIM_UNFIT", "", ""});
  }
  if (launch.config().kernel() != config_.kernel()) return Unfit("kernel");
  if (launch.config().memory_bytes() != config_.memory_bytes()) return Unfit("size of memory");
  if (launch.confinement() != launch_.confinement()) return Unfit("confinement");
  return KernelArguments(launch.config()).status();
}

// From here on the runtime directory and its files tell of the guest.
absl::Status Guest::BecomeGuest(const v1::Launch& launch) {
  const uint32_t uid = launch_.uid();
  launch_ = launch;
  launch_.set_uid(uid);
  launch_.clear_waits_in();
  config_ = launch_.config();
  started_unix_ns_ = NowUnixNs();
  SetLogName(config_.name());
  RETURN_IF_ERROR(WriteLaunchRecord(launch_));
  RETURN_IF_ERROR(MoveOwnLog(launch_.log_dir()));
  consoles_.MoveLogs(launch_.log_dir());
  if (absl::Status status = RemoveFolder(kWaitingLogs); !status.ok()) Log(status.message());
  std::map<uint32_t, v1::Disk> disks;
  for (const v1::Disk& disk : config_.disks()) disks[disk.unit()] = disk;
  RETURN_IF_ERROR(cgroups_->CoverDisks(FilesOf(disks)));
  return cgroups_->Apply(config_.limits(), config_.memory_bytes());
}

void Guest::Claim(const v1::Claim& request, Done done) {
  if (absl::Status fits = CheckClaim(request.launch()); !fits.ok()) return done(fits);
  waits_ = false;
  claim_done_ = std::move(done);
  if (absl::Status status = BecomeGuest(request.launch()); !status.ok()) return OnDecided(status);
  PlugAll();
}

// All at once; each kind of device has a line of its own, and the mconsole one for all.
void Guest::PlugAll() {
  auto left = std::make_shared<int>(0);
  auto failure = std::make_shared<absl::Status>();
  auto plugged = [this, left, failure](const std::string& noun) {
    ++*left;
    return [this, left, failure, noun](const absl::Status& status) {
      if (failure->ok()) *failure = Annotate(status, noun);
      if (--*left > 0 || claim_done_ == nullptr) return;
      failure->ok() ? TellClaim() : OnDecided(*failure);
    };
  };
  const auto all_asked = plugged("");
  for (const v1::Disk& disk : config_.disks()) {
    disks_->Plug(disk, plugged(absl::StrCat("disk ", devices::DiskName(disk.unit()))));
  }
  for (const v1::Nic& nic : config_.nics()) {
    const absl::StatusOr<devices::NicSpec> spec = devices::ParseNicSpec(nic.spec());
    const auto done = plugged(absl::StrCat("interface ", nic.device()));
    spec.ok() ? nics_.Plug(*spec, done) : done(spec.status());
  }
  for (const v1::ConsoleConfig& console : config_.consoles()) {
    const absl::StatusOr<devices::ConsoleSpec> spec =
        devices::ParseConsoleSpec(absl::StrCat(console.device(), "=", console.channels()));
    const auto done = plugged(absl::StrCat("console ", console.device()));
    spec.ok() ? consoles_.Set(*spec, done) : done(spec.status());
  }
  all_asked(absl::OkStatus());
}

void Guest::TellClaim() {
  absl::StatusOr<std::vector<std::string>> argv = KernelArguments(config_);
  if (!argv.ok()) return OnDecided(argv.status());
  // As /proc/cmdline of a UML kernel has them: without its program and its umid, and with a last word of its own.
  argv->erase(argv->begin());
  RemoveWords(argv.operator->(), {"umid="});
  const std::string words = absl::StrCat(absl::StrJoin(*argv, " "), " console=tty0");
  if (absl::Status told = claim_line_->Claim(words); !told.ok()) return OnDecided(told);
  look_timer_ = loop_->RunAfter(kDecideAtMost, [this] {
    look_timer_ = 0;
    OnDecided(MakeError(absl::StatusCode::kDeadlineExceeded, "the kernel that waited does not say what became of it",
                        {"CLAIM_FAILED", "", ""}));
  });
}

// The end of a claim, of which whoever asked is told first: it is in a hurry.
void Guest::OnDecided(const absl::Status& status) {
  if (claim_done_ == nullptr) return;
  loop_->Cancel(std::exchange(look_timer_, 0));
  const Done done = std::exchange(claim_done_, nullptr);
  if (status.ok()) {
    warm_ = true;
    Log("a kernel that had waited has become this guest's");
    Apply(LifeEvent::kMconsoleUp);
    ReleaseWaiters(absl::OkStatus());
    done(absl::OkStatus());
    AskVersion();  // it has the guest's name now
  } else {
    claim_failure_ = std::string(status.message());
    done(status);
    if (processes_ != nullptr) processes_->Kill();
  }
  // Not in its own callback.
  loop_->RunAfter(EventLoop::Clock::duration::zero(), [this] { claim_line_.reset(); });
}

}  // namespace umld::vmcore
