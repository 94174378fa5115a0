#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/nic/nic_spec.h"
#include "kernel/host_memory.h"
#include "vmcore/disk_message.h"
#include "vmcore/guest.h"
#include "vmcore/kernel_boot.h"
#include "vmcore/kernel_command_line.h"
#include "vmcore/log.h"
#include "vmcore/mconsole_policy.h"

// What users ask of a guest. Its life is in guest.cc.
namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMconsoleDeadline(10000);
// A busy host's guests boot ten times as long as an idle one's.
constexpr milliseconds kWaitUntilUp(30000);
constexpr milliseconds kLookForEndOfBoot(30);
constexpr milliseconds kGiveOwedAgain(5000);

milliseconds GraceOr(uint32_t asked_ms, milliseconds otherwise) {
  return asked_ms == 0 ? otherwise : milliseconds(asked_ms);
}

std::string DiskNoun(uint32_t unit) {
  return unit < devices::kMaxDisks ? absl::StrCat("disk ", devices::DiskName(unit)) : absl::StrCat("disk ", unit);
}

bool Says(const absl::StatusOr<MconsoleAnswer>& answer, absl::string_view text) {
  return answer.ok() && answer->error == 1 && answer->text == text;
}

absl::Status NotBooted() {
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("the guest's kernel has not come to the end of its boot within ",
                                std::chrono::duration_cast<std::chrono::seconds>(kWaitUntilUp).count(),
                                " s, or does not answer; nothing was changed"),
                   {"KERNEL_NOT_READY", "", "look at the guest's console; a guest that stays silent can be killed"});
}

constexpr char kAlreadyStopped[] = "Already stopped";
constexpr char kNotStopped[] = "Not stopped";

}  // namespace

absl::Status Guest::WrongState(absl::string_view what) const {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(what, ": its state is ", LifeStateName(lifecycle_.state())), {"WRONG_STATE", "", ""});
}

// ---------------------------------------------------------------- the end

absl::Status Guest::Stop(const v1::Stop& request) {
  const StopGraces defaults;
  graces_.skip_orderly = request.skip_orderly();
  graces_.orderly = GraceOr(request.orderly_grace_ms(), defaults.orderly);
  graces_.halt = GraceOr(request.halt_grace_ms(), defaults.halt);
  graces_.term = GraceOr(request.term_grace_ms(), defaults.term);
  return Apply(LifeEvent::kStopAsked) == LifeEffect::kRefuse ? WrongState("the guest cannot be stopped")
                                                             : absl::OkStatus();
}

absl::Status Guest::Reboot(const v1::Reboot& request) {
  graces_ = {};
  graces_.skip_orderly = request.skip_orderly();
  graces_.orderly = GraceOr(request.orderly_grace_ms(), graces_.orderly);
  return Apply(LifeEvent::kRebootAsked) == LifeEffect::kRefuse ? WrongState("the guest cannot be rebooted")
                                                               : absl::OkStatus();
}

absl::Status Guest::Kill() {
  return Apply(LifeEvent::kKillAsked) == LifeEffect::kRefuse ? WrongState("the guest cannot be killed")
                                                             : absl::OkStatus();
}

// ---------------------------------------------------------------- pause

void Guest::Pause(Done done) {
  switch (Apply(LifeEvent::kPauseAsked)) {
    case LifeEffect::kFreeze:
      return Freeze([done](const absl::StatusOr<MconsoleAnswer>& answer) {
        done(Says(answer, kAlreadyStopped) ? absl::OkStatus() : ToStatus(answer));
      });
    case LifeEffect::kAlready:
      return done(absl::OkStatus());
    default:
      return done(WrongState("the guest cannot be paused"));
  }
}

void Guest::Resume(Done done) {
  switch (Apply(LifeEvent::kResumeAsked)) {
    case LifeEffect::kThaw:
      return Thaw([done](const absl::StatusOr<MconsoleAnswer>& answer) {
        done(Says(answer, kNotStopped) ? absl::OkStatus() : ToStatus(answer));
      });
    case LifeEffect::kAlready:
      return done(absl::OkStatus());
    default:
      return done(WrongState("the guest cannot be resumed"));
  }
}

// After the changes under way, and none begins behind it: see WhenChangeable.
void Guest::Freeze(MconsoleDone done) {
  ++freezing_;
  Settle([this, done = std::move(done)] {
    if (lifecycle_.state() != LifeState::kRunning) {
      --freezing_;
      if (lifecycle_.state() == LifeState::kPaused) return done(MconsoleAnswer{1, kAlreadyStopped});
      return done(WrongState("the guest cannot be paused"));
    }
    mconsole_->Send("stop", kMconsoleDeadline, [this, done](const absl::StatusOr<MconsoleAnswer>& answer) {
      --freezing_;
      if (ToStatus(answer).ok() || Says(answer, kAlreadyStopped)) {
        Apply(LifeEvent::kFrozen);
        ReleaseWaiters(absl::OkStatus());  // to be told that it is frozen
      }
      if (absl::IsDeadlineExceeded(answer.status())) {
        // It may still freeze; the state says that it runs, so let it.
        mconsole_->Send("go", kMconsoleDeadline, [](const absl::StatusOr<MconsoleAnswer>&) {});
      }
      LookForEndOfBoot();  // it has not frozen
      done(answer);
    });
  });
}

void Guest::Thaw(MconsoleDone done) {
  mconsole_->Send("go", kMconsoleDeadline, [this, done](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (ToStatus(answer).ok() || Says(answer, kNotStopped)) {
      Apply(LifeEvent::kThawed);
      LookForEndOfBoot();
    }
    done(answer);
  });
}

// ---------------------------------------------------------------- disks

void Guest::WhenUp(std::function<void(absl::Status)> then) {
  switch (lifecycle_.state()) {
    case LifeState::kPaused:
      return then(absl::OkStatus());
    case LifeState::kRunning:
      if (booted_) return then(absl::OkStatus());
      break;
    case LifeState::kStarting:
      break;
    default:
      return then(WrongState("the guest takes no changes"));
  }
  auto timer = loop_->RunAfter(kWaitUntilUp, [this] {
    // All wait equally long, so the first to come is the first to go.
    Waiter waiter = std::move(waiters_.front());
    waiters_.pop_front();
    waiter.then(lifecycle_.state() == LifeState::kRunning ? NotBooted() : WrongState("the guest is not up yet"));
  });
  waiters_.push_back({std::move(then), timer});
  LookForEndOfBoot();
}

// Whether anything may be asked of the kernel now, and there is reason to: somebody waits (also a freeze does, for
// those), or its interfaces are to be proved. A guest of which nothing is asked is not disturbed.
bool Guest::MayLook() const {
  if (lifecycle_.state() != LifeState::kRunning) return false;
  return !waiters_.empty() || (nics_.unproven() && freezing_ == 0);
}

// Less and less often for the interfaces alone.
void Guest::LookForEndOfBoot() {
  if (looking_ || !MayLook()) return;
  loop_->Cancel(std::exchange(look_timer_, 0));
  looking_ = true;
  AskWhetherBooted(mconsole_.get(), kMconsoleDeadline, [this](const absl::StatusOr<bool>& booted) {
    if (absl::IsCancelled(booted.status())) return;
    looking_ = false;
    if (!MayLook()) return;
    if (booted.ok() && *booted) {
      booted_ = true;
      nics_.KernelBooted();
      return ReleaseWaiters(absl::OkStatus());
    }
    // Whoever comes while nobody waits does not wait for the timer.
    looking_ = !waiters_.empty();
    const milliseconds pause = looking_ ? kLookForEndOfBoot : look_later_;
    if (!looking_) look_later_ = std::min(2 * look_later_, kLookAtMost);
    look_timer_ = loop_->RunAfter(pause, [this] {
      look_timer_ = 0;
      looking_ = false;
      LookForEndOfBoot();
    });
  });
}

// A kernel that sleeps in the middle of a change, as it may, comes back with its interrupts on. One that is frozen then
// takes the next command twice over: as the frozen one, and in its interrupt handler, where it waits for ever. So
// nothing that takes the kernel's work is sent to one that is frozen, or about to be; what was asked before the freeze
// comes before it.
void Guest::WhenChangeable(std::function<void(absl::Status)> then) {
  if (IsFrozen()) return then(FrozenError());
  WhenUp([then = std::move(then), this](const absl::Status& up) {
    then(up.ok() && lifecycle_.state() == LifeState::kPaused ? FrozenError() : up);
  });
}

bool Guest::IsFrozen() const { return freezing_ > 0 || lifecycle_.state() == LifeState::kPaused; }

absl::Status Guest::FrozenError() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "the guest is paused, and its kernel takes no changes",
                   {"GUEST_PAUSED", "", "resume it first"});
}

void Guest::ReleaseWaiters(const absl::Status& status) {
  std::deque<Waiter> released = std::exchange(waiters_, {});
  for (Waiter& waiter : released) {
    loop_->Cancel(waiter.timer);
    waiter.then(status);
  }
}

void Guest::ChangeMemory(const v1::ChangeMemory& request, Done done) {
  WhenChangeable([this, delta = request.delta_bytes(), done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, "memory"));
    auto finish = [this, done](const absl::Status& status) {
      Announce();
      done(Annotate(status, "memory"));
    };
    delta < 0 ? balloon_->Take(uint64_t{0} - static_cast<uint64_t>(delta), finish)
              : balloon_->Give(static_cast<uint64_t>(delta), finish);
  });
}

void Guest::ReclaimMemory(const v1::ReclaimMemory& request, Done done) {
  WhenChangeable([this, worth = request.worth_bytes(), done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, "memory"));
    auto finish = [this, done, before = balloon_->reclaimed().count](const absl::Status& status) {
      if (balloon_->owes()) {
        Log(absl::StrCat("a pulse of its memory has not ended, and ", balloon_->owed() >> 10,
                         " KiB could not be given back: ", status.message()));
        GiveOwedLater();
      }
      if (balloon_->owes() || balloon_->reclaimed().count != before) Announce();
      done(Annotate(status, "memory"));
    };
    balloon_->Pulse(
        worth, [this] { return kernel::HostMemoryOf(kernel_); }, finish);
  });
}

// Until the kernel has back what it was to have had all the time.
void Guest::GiveOwedLater() {
  owed_timer_ = loop_->RunAfter(kGiveOwedAgain, [this] {
    owed_timer_ = 0;
    if (IsFrozen()) return GiveOwedLater();
    balloon_->GiveOwed([this](const absl::Status& status) {
      if (!status.ok()) return GiveOwedLater();
      Log("the guest has its memory back");
      Announce();
    });
  });
}

void Guest::Settle(std::function<void()> done) {
  // What was asked of a guest that is starting waits in a line of its own, before that of the disks.
  if (!waiters_.empty()) {
    return WhenUp([this, done = std::move(done)](const absl::Status& up) { up.ok() ? Settle(done) : done(); });
  }
  if (disks_ == nullptr) return done();
  disks_->AfterAll([this, done = std::move(done)] {
    consoles_.AfterAll(
        [this, done] { nics_.AfterAll([this, done] { balloon_ == nullptr ? done() : balloon_->AfterAll(done); }); });
  });
}

void Guest::PlugDisk(const v1::PlugDisk& request, Done done) {
  const std::string noun = DiskNoun(request.disk().unit());
  WhenChangeable([this, request, noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    std::map<uint32_t, v1::Disk> disks = disks_->live();
    disks[request.disk().unit()] = request.disk();
    if (absl::Status covered = cgroups_->CoverDisks(FilesOf(disks)); !covered.ok()) {
      return done(Annotate(covered, noun));
    }
    disks_->Plug(request.disk(), [this, request, noun, done](const absl::Status& status) {
      if (status.ok()) {
        if (!request.live_only()) ChangeConfig(request.disk().unit(), &request.disk(), request.etag());
        Announce();
      }
      done(Annotate(status, noun));
    });
  });
}

void Guest::UnplugDisk(const v1::UnplugDisk& request, Done done) {
  const std::string noun = DiskNoun(request.unit());
  WhenChangeable([this, request, noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    auto finish = [this, request, noun, done](const absl::Status& status) {
      if (status.ok()) {
        if (!request.live_only()) ChangeConfig(request.unit(), nullptr, request.etag());
        Announce();
      }
      done(Annotate(status, noun));
    };
    const auto& disks = config_.disks();
    bool configured =
        std::any_of(disks.begin(), disks.end(), [&](const v1::Disk& d) { return d.unit() == request.unit(); });
    // One that only the next boot would have had.
    if (disks_->live().count(request.unit()) == 0 && configured && !request.live_only()) {
      return finish(absl::OkStatus());
    }
    disks_->Unplug(request.unit(), finish);
  });
}

void Guest::ReplugDisk(const v1::ReplugDisk& request, Done done) {
  const std::string noun = DiskNoun(request.unit());
  WhenChangeable([this, unit = request.unit(), noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    disks_->Replug(unit, [this, noun, done](const absl::Status& status) {
      Announce();
      done(Annotate(status, noun));
    });
  });
}

// `disk` in the place of what the unit had; nullptr: nothing.
void Guest::ChangeConfig(uint32_t unit, const v1::Disk* disk, uint64_t etag) {
  v1::GuestConfig changed = config_;
  changed.clear_disks();
  for (const v1::Disk& old : config_.disks()) {
    if (old.unit() != unit) *changed.add_disks() = old;
  }
  if (disk != nullptr) *changed.add_disks() = *disk;
  changed.set_etag(etag);
  config_ = std::move(changed);
}

// ---------------------------------------------------------------- consoles

void Guest::SetConsole(const v1::SetConsole& request, Done done) {
  const std::string noun = absl::StrCat("console ", request.console().device());
  absl::StatusOr<devices::ConsoleSpec> spec =
      devices::ParseConsoleSpec(absl::StrCat(request.console().device(), "=", request.console().channels()));
  if (!spec.ok()) return done(spec.status());
  if (freezing_ > 0) return done(Annotate(FrozenError(), noun));
  WhenUp([this, request, spec = *spec, noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    const bool paused = lifecycle_.state() == LifeState::kPaused;
    if (paused && !consoles_.KeepsTerminal(spec)) return done(Annotate(FrozenError(), noun));
    consoles_.Set(spec, [this, request, noun, done](const absl::Status& status) {
      if (status.ok()) {
        if (!request.live_only()) ChangeConsoleConfig(request);
        Announce();
      }
      done(Annotate(status, noun));
    });
  });
}

void Guest::ChangeConsoleConfig(const v1::SetConsole& change) {
  v1::GuestConfig changed = config_;
  changed.clear_consoles();
  for (const v1::ConsoleConfig& old : config_.consoles()) {
    if (old.device() != change.console().device()) *changed.add_consoles() = old;
  }
  if (!change.forget()) *changed.add_consoles() = change.console();
  changed.set_etag(change.etag());
  config_ = std::move(changed);
}

// ---------------------------------------------------------------- interfaces

void Guest::PlugNic(const v1::PlugNic& request, Done done) {
  absl::StatusOr<devices::NicSpec> spec = devices::ParseNicSpec(request.nic().spec());
  if (!spec.ok()) return done(spec.status());
  v1::Nic nic;
  nic.set_device(devices::NicName(spec->device));
  nic.set_spec(request.nic().spec());
  const std::string noun = absl::StrCat("interface ", nic.device());
  WhenChangeable([this, request, nic, spec = *spec, noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    nics_.Plug(spec, [this, request, nic, noun, done](const absl::Status& status) {
      if (status.ok()) {
        if (!request.live_only()) ChangeNicConfig(nic.device(), &nic, request.etag());
        Announce();
      }
      done(Annotate(status, noun));
    });
  });
}

void Guest::UnplugNic(const v1::UnplugNic& request, Done done) {
  absl::StatusOr<devices::NicDevice> device = devices::ParseNicName(request.device());
  if (!device.ok()) return done(device.status());
  const std::string noun = absl::StrCat("interface ", request.device());
  WhenChangeable([this, request, device = *device, noun, done = std::move(done)](const absl::Status& up) {
    if (!up.ok()) return done(Annotate(up, noun));
    auto finish = [this, request, noun, done](const absl::Status& status) {
      if (status.ok()) {
        if (!request.live_only()) ChangeNicConfig(request.device(), nullptr, request.etag());
        Announce();
      }
      done(Annotate(status, noun));
    };
    const auto& nics = config_.nics();
    const bool configured =
        std::any_of(nics.begin(), nics.end(), [&](const v1::Nic& nic) { return nic.device() == request.device(); });
    // One that only the next boot would have had.
    if (!nics_.IsLive(device) && configured && !request.live_only()) return finish(absl::OkStatus());
    nics_.Unplug(device, finish);
  });
}

// `nic` in the place of what the device had; nullptr: nothing.
void Guest::ChangeNicConfig(const std::string& device, const v1::Nic* nic, uint64_t etag) {
  v1::GuestConfig changed = config_;
  changed.clear_nics();
  for (const v1::Nic& old : config_.nics()) {
    if (old.device() != device) *changed.add_nics() = old;
  }
  if (nic != nullptr) *changed.add_nics() = *nic;
  changed.set_etag(etag);
  config_ = std::move(changed);
}

// ---------------------------------------------------------------- the rest

absl::Status Guest::SetConfig(const v1::GuestConfig& config) {
  RETURN_IF_ERROR(KernelArguments(config).status());
  config_ = config;
  absl::Status limited = cgroups_->Apply(config.limits(), config.memory_bytes());
  Announce();
  return limited;
}

void Guest::Mconsole(const v1::Mconsole& request, MconsoleDone done) {
  absl::StatusOr<RawCommand> judged = JudgeRawCommand(request.command(), request.force());
  if (!judged.ok()) return done(judged.status());
  if (mconsole_ == nullptr || !came_up_) return done(WrongState("the guest's mconsole is not up"));
  auto answer_ok = [&done](const absl::Status& status) {
    done(status.ok() ? absl::StatusOr<MconsoleAnswer>(MconsoleAnswer{}) : status);
  };
  v1::Stop halt;
  v1::Reboot reboot;
  switch (*judged) {
    case RawCommand::kPassOn:
      return mconsole_->Send(request.command(), GraceOr(request.deadline_ms(), kMconsoleDeadline), std::move(done));
    case RawCommand::kHalt:
      halt.set_skip_orderly(true);
      return answer_ok(Stop(halt));
    case RawCommand::kReboot:
      reboot.set_skip_orderly(true);
      return answer_ok(Reboot(reboot));
    case RawCommand::kPause:
      switch (Apply(LifeEvent::kPauseAsked)) {
        case LifeEffect::kFreeze:
          return Freeze(std::move(done));
        case LifeEffect::kAlready:
          return done(MconsoleAnswer{1, kAlreadyStopped});
        default:
          return done(WrongState("the guest cannot be paused"));
      }
    case RawCommand::kResume:
      switch (Apply(LifeEvent::kResumeAsked)) {
        case LifeEffect::kThaw:
          return Thaw(std::move(done));
        case LifeEffect::kAlready:
          return done(MconsoleAnswer{1, kNotStopped});
        default:
          return done(WrongState("the guest cannot be resumed"));
      }
  }
}

}  // namespace umld::vmcore
