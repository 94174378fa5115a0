#include "vmcore/disks.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/open_disk.h"
#include "vmcore/disk_message.h"
#include "vmcore/kernel_command_line.h"
#include "vmcore/kernel_disk.h"
#include "vmcore/kernel_paths.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPoll(20);
constexpr milliseconds kBusyAtMost(500);
constexpr off_t kSmallDisk = 64 * 1024;

// In kKernelFolder.
absl::Status MakeSmallDisk(const char* path, const Jail* jail) {
  UniqueFd fd(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.ok() || ftruncate(fd.get(), kSmallDisk) != 0) return ErrnoError(errno, absl::StrCat("make ", path));
  return jail == nullptr ? absl::OkStatus() : jail->Give(path);
}

std::string Subject(uint32_t unit) { return absl::StrCat("disks/", devices::DiskName(unit)); }

// The kernel's refusal in words.
absl::Status Refusal(const devices::DiskSpec& spec, const MconsoleAnswer& answer) {
  std::string subject = Subject(spec.unit);
  if (answer.error == -EBUSY) {
    return MakeError(absl::StatusCode::kAlreadyExists, "the running kernel has a disk there already",
                     {"DISK_EXISTS", subject, "unplug it first, or take another unit"});
  }
  std::string text = answer.text.empty() ? absl::StrCat("error ", answer.error) : answer.text;
  absl::StatusCode code = answer.error == -ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kFailedPrecondition;
  return MakeError(code, absl::StrCat("the guest's kernel refuses ", devices::PrintDiskSpec(spec), ": ", text),
                   {"KERNEL_REFUSED", subject, "see the guest's kernel messages (con0)"});
}

absl::Status NoSuchDisk(uint32_t unit) {
  return MakeError(absl::StatusCode::kNotFound, "the running kernel has no such disk",
                   {"NO_SUCH_DISK", unit < devices::kMaxDisks ? Subject(unit) : "", ""});
}

absl::Status Busy(uint32_t unit) {
  std::string device = absl::StrCat("/dev/", devices::DiskName(unit));
  return MakeError(absl::StatusCode::kFailedPrecondition, "it is in use inside the guest",
                   {"DEVICE_BUSY", Subject(unit),
                    absl::StrCat("inside the guest: umount ", device, ", or swapoff ", device, ", then unplug again")});
}

}  // namespace

absl::Status Disks::PrepareBoot(const v1::GuestConfig& config, Jail* jail) {
  bool has_ubda = false;
  std::vector<std::pair<uint32_t, devices::DiskFile>> files;
  for (const v1::Disk& disk : config.disks()) {
    std::string name = absl::StrCat("disk ", devices::DiskName(disk.unit()));
    auto file = Inspect(disk);
    if (!file.ok()) return Annotate(file.status(), name);
    for (const auto& [unit, other] : files) {
      if (!devices::Conflicts(*file, other)) continue;
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat(name, ": ", disk.path(), " is also disk ", devices::DiskName(unit)),
                       {"DISK_CONFLICT", Subject(disk.unit()), "a file can be one disk only, unless both have flag r"});
    }
    bool created_cow = false;
    if (absl::Status status = PrepareKernelDisk(disk, *file, jail, &created_cow); !status.ok()) {
      return Annotate(status, name);
    }
    files.emplace_back(disk.unit(), *file);
    has_ubda |= disk.unit() == 0;
  }
  if (has_ubda) return absl::OkStatus();
  // With no ubda the kernel takes a file "root_fs" for it. When that is missing, the unit is stuck until the next boot:
  // it cannot be configured, and to remove it hangs the kernel. So it is given one, which can be removed.
  return MakeSmallDisk(kUbdaPlaceholder, jail);
}

Disks::Disks(EventLoop* loop, MconsoleClient* mconsole, Jail* jail, const v1::GuestConfig& config,
             EventLoop::Clock::duration deadline)
    : loop_(loop), mconsole_(mconsole), jail_(jail), deadline_(deadline), changes_(loop) {
  for (const v1::Disk& disk : config.disks()) {
    live_[disk.unit()] = disk;
    auto file = Inspect(disk);
    live_[disk.unit()].set_size_bytes(file.ok() ? devices::RoundUpToSector(file->size_bytes) : 0);
  }
  ubda_placeholder_ = live_.count(0) == 0;
}

Disks::~Disks() { loop_->Cancel(timer_); }

void Disks::Abandon(absl::string_view reason) {
  loop_->Cancel(std::exchange(timer_, 0));
  changes_.Abandon(reason);
}

void Disks::Ask(const std::string& command, Answer answer) { mconsole_->Send(command, deadline_, std::move(answer)); }

void Disks::Plug(const v1::Disk& disk, Done done) {
  auto run = [this, disk] {
    auto file = Check(disk, /*replacing=*/false);
    if (!file.ok()) return Finish(file.status());
    auto finish = [this](const absl::Status& status) { Finish(status); };
    if (disk.unit() != 0 || !ubda_placeholder_) return Prepare(disk, *file, finish);
    FreeUbda([this, disk, file = *file, finish](const absl::Status& freed) {
      if (!freed.ok()) return Finish(freed);
      Prepare(disk, file, finish);
    });
  };
  changes_.Add(std::move(run), std::move(done));
}

void Disks::MakeRoom(Done done) {
  changes_.Add(
      [this] {
        if (!ubda_placeholder_) return Finish(absl::OkStatus());
        FreeUbda([this](const absl::Status& freed) { Finish(freed); });
      },
      std::move(done));
}

absl::StatusOr<devices::DiskFile> Disks::Check(const v1::Disk& disk, bool replacing) const {
  const devices::DiskSpec spec = FromMessage(disk);
  RETURN_IF_ERROR(devices::CheckDiskSpec(spec));
  if (live_.count(spec.unit) != 0 && !replacing) return Refusal(spec, {-EBUSY, ""});
  ASSIGN_OR_RETURN(devices::DiskFile file, Inspect(disk));
  for (const auto& [unit, other] : live_) {
    if (unit == spec.unit) continue;
    // One that cannot be looked at any more is in use all the same, but nothing can be said of it.
    auto other_file = Inspect(other);
    if (!other_file.ok() || !devices::Conflicts(file, *other_file)) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(spec.path, " is already disk ", devices::DiskName(unit), " of this guest"),
                     {"DISK_CONFLICT", Subject(spec.unit), "a file can be one disk only, unless both have flag r"});
  }
  return file;
}

void Disks::Prepare(const v1::Disk& disk, const devices::DiskFile& file, std::function<void(absl::Status)> then) {
  Wanted wanted;
  wanted.disk = disk;
  wanted.disk.set_size_bytes(devices::RoundUpToSector(file.size_bytes));
  wanted.spec = FromMessage(disk);
  wanted.shown = KernelDisk(wanted.spec);
  wanted.then = std::move(then);
  busy_until_ = EventLoop::Clock::now() + kBusyAtMost;
  absl::Status prepared = PrepareKernelDisk(disk, file, jail_, &wanted.created_cow);
  prepared.ok() ? Configure(wanted) : wanted.then(prepared);
}

void Disks::FreeUbda(std::function<void(absl::Status)> then) {
  Ask("remove ubda", [this, then = std::move(then)](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!answer.ok()) return then(answer.status());
    if (answer->error == -EBUSY) return then(Busy(0));
    ubda_placeholder_ = false;
    then(absl::OkStatus());
  });
}

void Disks::Configure(const Wanted& wanted) {
  Ask(absl::StrCat("config ", devices::PrintDiskSpec(wanted.shown)),
      [this, wanted](const absl::StatusOr<MconsoleAnswer>& answer) {
        if (!answer.ok()) return LearnPlug(wanted, answer.status());
        if (answer->error == 0) {
          live_[wanted.disk.unit()] = wanted.disk;
          return wanted.then(absl::OkStatus());
        }
        if (answer->error == -EBUSY && EventLoop::Clock::now() < busy_until_) {
          // A disk that was removed a moment ago keeps its unit until the last reference to it is gone.
          timer_ = loop_->RunAfter(kPoll, [this, wanted] { Configure(wanted); });
          return;
        }
        absl::Status refusal = Refusal(wanted.spec, *answer);
        const bool leaves_flags = wanted.spec.flags.find_first_of("dct") != std::string::npos;
        if (answer->error == -EBUSY || !leaves_flags) return Refuse(wanted, refusal);
        Cleanse(wanted.spec.unit, [this, wanted, refusal] { Refuse(wanted, refusal); });
      });
}

// Nothing of a plug that the kernel refused is left.
void Disks::Refuse(const Wanted& wanted, const absl::Status& refusal) {
  ForgetKernelDisk(wanted.spec.unit, jail_);
  if (wanted.created_cow) RemoveCow(wanted.disk);
  wanted.then(refusal);
}

// A plug that was sent and not answered: the kernel's own word on the unit decides.
void Disks::LearnPlug(const Wanted& wanted, const absl::Status& timeout) {
  if (!absl::IsDeadlineExceeded(timeout)) return wanted.then(timeout);
  Ask(absl::StrCat("config ", devices::DiskName(wanted.spec.unit)),
      [this, wanted, timeout](const absl::StatusOr<MconsoleAnswer>& answer) {
        bool there = answer.ok() && answer->error == 0 && answer->text == devices::PrintDiskValue(wanted.shown);
        if (there) live_[wanted.disk.unit()] = wanted.disk;
        wanted.then(there ? absl::OkStatus() : timeout);
      });
}

// The flags d, c and t of a refused configuration stay on the unit and would spoil the next one. A disk that is plugged
// without flags and removed takes them along.
void Disks::Cleanse(uint32_t unit, std::function<void()> then) {
  std::string path = kScratchDisk;
  if (!MakeSmallDisk(kScratchDisk, jail_).ok()) return then();
  std::string name = devices::DiskName(unit);
  Ask(absl::StrCat("config ", name, "=", path),
      [this, name, then = std::move(then)](const absl::StatusOr<MconsoleAnswer>&) {
        Ask(absl::StrCat("remove ", name), [then](const absl::StatusOr<MconsoleAnswer>&) {
          unlink(kScratchDisk);
          then();
        });
      });
}

void Disks::Unplug(uint32_t unit, Done done) {
  auto run = [this, unit] {
    // Never one that this object does not know: to remove a disk that failed to start hangs the kernel.
    if (live_.count(unit) == 0) {
      return Finish(NoSuchDisk(unit));
    }
    Remove(unit, [this, unit](const absl::Status& removed) {
      if (removed.ok()) ForgetKernelDisk(unit, jail_);
      Finish(removed);
    });
  };
  changes_.Add(std::move(run), std::move(done));
}

void Disks::Replug(uint32_t unit, Done done) {
  auto run = [this, unit] {
    auto found = live_.find(unit);
    if (found == live_.end()) return Finish(NoSuchDisk(unit));
    const v1::Disk disk = found->second;
    // Looked at before it is let go of, so that what can be known to fail fails now.
    auto file = Check(disk, /*replacing=*/true);
    if (!file.ok()) return Finish(file.status());
    Remove(disk.unit(), [this, disk, file = *file](const absl::Status& removed) {
      if (!removed.ok()) return Finish(removed);
      // There may be another file at its path by now.
      ForgetKernelDisk(disk.unit(), jail_);
      Prepare(disk, file, [this, disk](const absl::Status& plugged) {
        if (plugged.ok()) return Finish(plugged);
        Finish(MakeError(plugged.code() == absl::StatusCode::kDeadlineExceeded ? plugged.code()
                                                                               : absl::StatusCode::kFailedPrecondition,
                         absl::StrCat("it was taken out and could not be put back: ", plugged.message()),
                         {"DISK_LOST", Subject(disk.unit()), "plug it again when the cause is removed"}));
      });
    });
  };
  changes_.Add(std::move(run), std::move(done));
}

void Disks::Remove(uint32_t unit, std::function<void(absl::Status)> then) {
  std::string name = devices::DiskName(unit);
  Ask(absl::StrCat("remove ", name),
      [this, unit, name, then = std::move(then)](const absl::StatusOr<MconsoleAnswer>& answer) {
        if (!answer.ok()) return LearnUnplug(unit, answer.status(), then);
        if (answer->error == -EBUSY) return then(Busy(unit));
        if (answer->error != 0 && answer->error != -ENODEV) {
          return then(MakeError(absl::StatusCode::kFailedPrecondition,
                                absl::StrCat("the guest's kernel refuses to remove ", name, ": ", answer->text),
                                {"KERNEL_REFUSED", Subject(unit), "see the guest's kernel messages (con0)"}));
        }
        live_.erase(unit);  // also when the kernel says that there is none
        then(absl::OkStatus());
      });
}

void Disks::LearnUnplug(uint32_t unit, const absl::Status& timeout, std::function<void(absl::Status)> then) {
  if (!absl::IsDeadlineExceeded(timeout)) return then(timeout);
  Ask(absl::StrCat("config ", devices::DiskName(unit)),
      [this, unit, timeout, then = std::move(then)](const absl::StatusOr<MconsoleAnswer>& answer) {
        bool gone = answer.ok() && answer->error == 0 && answer->text.empty();
        if (gone) live_.erase(unit);
        then(gone ? absl::OkStatus() : timeout);
      });
}

}  // namespace umld::vmcore
