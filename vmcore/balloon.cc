#include "vmcore/balloon.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "devices/memory/memory_spec.h"
#include "vmcore/unix_clock.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

// How often, and how many times in a row, a guest is asked that has nothing free: its kernel writes back and drops
// caches meanwhile.
constexpr milliseconds kPause(50);
constexpr int kIdleRounds = 40;
// One step of a pulse, in which the guest stands still: some milliseconds on each way (measured: 0.5 to 1.5 ms per MiB
// taken, 10 ms per GiB given back).
constexpr uint64_t kPulsePiece = uint64_t{2} << 20, kGivePiece = uint64_t{256} << 20;
constexpr std::chrono::seconds kPulseAtMost(30);
constexpr char kSubject[] = "devices/mem";

// The kernel's own min_free_kbytes. Its allocation for a balloon may not wait, and simply stops, with no word of it,
// at three eighths of this; below five quarters the kernel begins to free caches. So: down to here.
uint64_t MinFree(uint64_t total_bytes) {
  return static_cast<uint64_t>(std::sqrt(static_cast<double>(total_bytes >> 10) * 16)) << 10;
}

// By how much a kernel that does so raises its least for a while when free memory is in small pieces: a page block, or
// one and a half of its upper mark. Below it a guest that has nobody to kill panics ("System is deadlocked on memory":
// 2 of 200, when a pulse left less).
uint64_t Boost(uint64_t total_bytes) { return std::max(uint64_t{4} << 20, 9 * MinFree(total_bytes) / 4); }

// What a pulse leaves a guest that runs: one that wakes up has this until the next step sees it, and on a busy host
// that takes a while, in which a guest can use a MiB per ms (seen: with 7 MiB left its kernel ended a process, 1 of
// 300). What is left is taken in one stop: 27 ms for 40 MiB, of which 16 had been used.
uint64_t PulseReserve(uint64_t total_bytes) {
  return std::clamp(total_bytes / 8, uint64_t{32} << 20, uint64_t{128} << 20);
}

// What the host has of the kernel's own memory, which is not in its MemTotal, or a little more (seen: 3.5 MiB of 64M).
uint64_t KernelsOwn(uint64_t total_bytes) { return (uint64_t{3} << 20) + total_bytes / 64; }

// What can be taken of what is free, in whole pages, so that `left` stays; `most` at most.
uint64_t Spare(uint64_t free, uint64_t left, uint64_t most) {
  return std::min(most, free > left ? free - left : 0) / devices::kMemoryStep * devices::kMemoryStep;
}

std::string Command(char sign, uint64_t bytes) {
  return absl::StrCat("config mem=", std::string(1, sign), bytes >> 10, "K");
}

absl::Status Refused(absl::string_view message, absl::string_view hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message, {"MEMORY_LIMIT", kSubject, std::string(hint)});
}

}  // namespace

uint64_t MeminfoBytes(absl::string_view meminfo, absl::string_view name) {
  size_t at = meminfo.find(absl::StrCat("\n", name, ":"));
  if (at == absl::string_view::npos) return 0;
  absl::string_view rest = meminfo.substr(at + name.size() + 2);
  rest = absl::StripLeadingAsciiWhitespace(rest);
  uint64_t kib = 0;
  return absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &kib) ? kib << 10 : 0;
}

Balloon::Balloon(EventLoop* loop, MconsoleClient* mconsole, uint64_t memory_bytes, EventLoop::Clock::duration deadline)
    : loop_(loop), mconsole_(mconsole), memory_bytes_(memory_bytes), deadline_(deadline) {}

Balloon::~Balloon() { loop_->Cancel(timer_); }

void Balloon::Take(uint64_t bytes, Done done) {
  if (pulse_ != nullptr) return AfterAll([this, bytes, done = std::move(done)] { Take(bytes, done); });
  if (done_) return done(absl::UnavailableError("another change of its memory is under way"));
  const uint64_t left = memory_bytes_ - lent_;
  if (bytes > left || left - bytes < devices::kMinMemory) {
    return done(Refused(absl::StrCat("it has ", FormatByteSize(left), ", and a UML kernel needs at least ",
                                     FormatByteSize(devices::kMinMemory)),
                        "take less"));
  }
  done_ = std::move(done);
  wanted_ = bytes;
  taken_now_ = 0;
  idle_rounds_ = 0;
  mconsole_->Send("proc sys/vm/watermark_boost_factor", deadline_,
                  [this](const absl::StatusOr<MconsoleAnswer>& answer) {
                    if (!done_) return;
                    const absl::Status status = ToStatus(answer, kSubject);
                    if (absl::IsDeadlineExceeded(status)) return GiveUpTaking(status);
                    // A kernel without the file may do it all the same.
                    boosts_ = !status.ok() || absl::StripAsciiWhitespace(answer->text) != "0";
                    TakeNext();
                  });
}

void Balloon::TakeNext() {
  if (wanted_ == 0) return Finish(absl::OkStatus());
  mconsole_->Send("proc meminfo", deadline_, [this](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    if (absl::Status status = ToStatus(answer, kSubject); !status.ok()) return GiveUpTaking(status);
    const uint64_t total = MeminfoBytes(answer->text, "MemTotal"), reserve = MinFree(total);
    const uint64_t available = MeminfoBytes(answer->text, "MemAvailable");
    if (taken_now_ == 0 && idle_rounds_ == 0 && available < wanted_ + reserve + (boosts_ ? Boost(total) : 0)) {
      return GiveUpTaking(Refused(
          absl::StrCat("the guest needs what it has: ", HumanByteSize(available), " of its memory could be freed"),
          "take less, or end something inside the guest"));
    }
    TakePiece(MeminfoBytes(answer->text, "MemFree"), reserve);
  });
}

void Balloon::TakePiece(uint64_t free_bytes, uint64_t reserve) {
  const uint64_t piece = Spare(free_bytes, reserve, wanted_);
  if (piece == 0) {
    if (++idle_rounds_ > kIdleRounds) {
      return GiveUpTaking(Refused("the guest has it in use", "take less, or end something inside the guest"));
    }
    timer_ = loop_->RunAfter(kPause, [this] {
      timer_ = 0;
      TakeNext();
    });
    return;
  }
  idle_rounds_ = 0;
  mconsole_->Send(Command('-', piece), deadline_, [this, piece](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    const absl::Status status = ToStatus(answer, kSubject);
    // One that was not answered may have been carried out; to give back too much does no harm.
    if (status.ok() || absl::IsDeadlineExceeded(status)) {
      lent_ += piece;
      taken_now_ += piece;
      wanted_ -= piece;
    }
    status.ok() ? TakeNext() : GiveUpTaking(status);
  });
}

void Balloon::GiveUpTaking(const absl::Status& why) {
  if (taken_now_ == 0) return Finish(why);
  mconsole_->Send(Command('+', taken_now_), deadline_, [this, why](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    if (ToStatus(answer).ok()) lent_ -= taken_now_;
    Finish(why);
  });
}

void Balloon::Give(uint64_t bytes, Done done) {
  if (pulse_ != nullptr) return AfterAll([this, bytes, done = std::move(done)] { Give(bytes, done); });
  if (done_) return done(absl::UnavailableError("another change of its memory is under way"));
  if (bytes > lent_) {
    return done(Refused(
        absl::StrCat("only what was taken can be given back, and that is ", FormatByteSize(lent_)),
        "more memory than a guest was started with takes a new start: `umlctl set NAME --mem SIZE`, then reboot"));
  }
  done_ = std::move(done);
  mconsole_->Send(Command('+', bytes), deadline_, [this, bytes](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    absl::Status status = ToStatus(answer, kSubject);
    if (status.ok()) lent_ -= bytes;
    Finish(status);
  });
}

void Balloon::Pulse(uint64_t worth_bytes, std::function<uint64_t()> host_memory, Done done) {
  if (done_) return done(absl::UnavailableError("another change of its memory is under way"));
  if (lent_ > 0) {
    return done(MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(FormatByteSize(lent_), " of it are lent"),
                          {"MEMORY_LENT", kSubject, "give that back first"}));
  }
  done_ = std::move(done);
  taken_now_ = 0;
  pulse_ = std::make_unique<PulseUnderWay>();
  pulse_->worth_bytes = worth_bytes;
  pulse_->host_before = host_memory();
  pulse_->host_memory = std::move(host_memory);
  pulse_->until = EventLoop::Clock::now() + kPulseAtMost;
  PulseNext();
}

void Balloon::PulseNext() {
  mconsole_->Send("proc meminfo", deadline_, [this](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    if (absl::Status status = ToStatus(answer, kSubject); !status.ok()) return EndPulse(status);
    // Whatever the guest says of itself, it has no more than this.
    const uint64_t free = std::min(MeminfoBytes(answer->text, "MemFree"), memory_bytes_ - taken_now_);
    const uint64_t total = std::min(MeminfoBytes(answer->text, "MemTotal"), memory_bytes_);
    const uint64_t reserve = PulseReserve(total), least = MinFree(total);
    // What the guest uses is no gain, nor is what is left to it, and that may be all pages that were used once.
    const bool worth_it =
        taken_now_ > 0 || pulse_->host_before + free >= total + KernelsOwn(total) + least + pulse_->worth_bytes;
    const bool wakes_up = taken_now_ > 0 && free < reserve / 2;
    if (!worth_it || wakes_up || pulse_->ending || EventLoop::Clock::now() >= pulse_->until) {
      return EndPulse(absl::OkStatus());
    }
    const uint64_t piece = Spare(free, reserve, kPulsePiece);
    piece > 0 ? PulsePiece(piece) : PulseRest(Spare(free, least, free));
  });
}

void Balloon::PulsePiece(uint64_t bytes) {
  const auto sent = EventLoop::Clock::now();
  mconsole_->Send(Command('-', bytes), deadline_, [this, bytes, sent](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    const absl::Status status = ToStatus(answer, kSubject);
    if (status.ok() || absl::IsDeadlineExceeded(status)) {
      lent_ += bytes;
      taken_now_ += bytes;
    }
    const auto took = EventLoop::Clock::now() - sent;
    pulse_->longest_stop = std::max(pulse_->longest_stop, took);
    if (!status.ok() || pulse_->ending) return EndPulse(status);
    timer_ = loop_->RunAfter(took, [this] {
      timer_ = 0;
      PulseNext();
    });
  });
}

// The four of it stand in line together, so that nobody else's request finds the guest stopped.
void Balloon::PulseRest(uint64_t bytes) {
  struct Outcome {
    absl::Status take, give;
  };
  auto outcome = std::make_shared<Outcome>();
  pulse_->ending = true;
  lent_ += bytes;
  taken_now_ += bytes;
  const auto sent = EventLoop::Clock::now();
  mconsole_->Send("stop", deadline_, [](const absl::StatusOr<MconsoleAnswer>&) {});
  mconsole_->Send(Command('-', bytes), deadline_, [outcome](const absl::StatusOr<MconsoleAnswer>& answer) {
    outcome->take = ToStatus(answer, kSubject);
  });
  mconsole_->Send(Command('+', taken_now_), deadline_, [outcome](const absl::StatusOr<MconsoleAnswer>& answer) {
    outcome->give = ToStatus(answer, kSubject);
  });
  LetGo([this, outcome, sent](const absl::Status& go) {
    if (!done_) return;
    pulse_->longest_stop = std::max(pulse_->longest_stop, EventLoop::Clock::now() - sent);
    if (!outcome->give.ok()) {
      owed_ = taken_now_;
      return Finish(outcome->give);
    }
    lent_ -= taken_now_;
    go.ok() ? FinishPulse(outcome->take) : Finish(go);
  });
}

void Balloon::LetGo(Done done) {
  stopped_ = true;
  mconsole_->Send("go", deadline_, [this, done = std::move(done)](const absl::StatusOr<MconsoleAnswer>& answer) {
    // Any answer will do: that it was not stopped is one.
    stopped_ = !answer.ok();
    done(answer.status());
  });
}

// Gives back what it has taken, as long as there is something.
void Balloon::EndPulse(const absl::Status& why) {
  pulse_->ending = true;
  if (taken_now_ == 0) return Finish(why);
  const uint64_t piece = std::min(taken_now_, kGivePiece);
  const auto sent = EventLoop::Clock::now();
  mconsole_->Send(Command('+', piece), deadline_,
                  [this, why, piece, sent](const absl::StatusOr<MconsoleAnswer>& answer) {
                    if (!done_) return;
                    if (absl::Status status = ToStatus(answer, kSubject); !status.ok()) {
                      owed_ = taken_now_;
                      return Finish(status);
                    }
                    lent_ -= piece;
                    taken_now_ -= piece;
                    pulse_->longest_stop = std::max(pulse_->longest_stop, EventLoop::Clock::now() - sent);
                    taken_now_ > 0 ? EndPulse(why) : FinishPulse(why);
                  });
}

// All is given back.
void Balloon::FinishPulse(const absl::Status& status) {
  const uint64_t now = pulse_->host_memory();
  ++reclaimed_.count;
  reclaimed_.bytes = pulse_->host_before - std::min(pulse_->host_before, now);
  reclaimed_.total_bytes += reclaimed_.bytes;
  reclaimed_.unix_ns = NowUnixNs();
  reclaimed_.longest_stop = pulse_->longest_stop;
  Finish(status);
}

void Balloon::GiveOwed(Done done) {
  if (stopped_) {
    return LetGo(
        [this, done = std::move(done)](const absl::Status& status) { status.ok() ? GiveOwed(done) : done(status); });
  }
  // Somebody may have asked for it meanwhile.
  owed_ = std::min(owed_, lent_);
  if (owed_ == 0) return done(absl::OkStatus());
  Give(owed_, [this, done = std::move(done)](const absl::Status& status) {
    if (status.ok()) owed_ = 0;
    done(status);
  });
}

void Balloon::AfterAll(std::function<void()> done) {
  if (!done_) return done();
  after_.push_back(std::move(done));
  if (pulse_ == nullptr) return;
  pulse_->ending = true;
  // Otherwise it is at a step, and looks when that is done.
  if (timer_ == 0) return;
  loop_->Cancel(std::exchange(timer_, 0));
  EndPulse(absl::OkStatus());
}

void Balloon::Abandon(absl::string_view reason) {
  loop_->Cancel(std::exchange(timer_, 0));
  if (done_) Finish(absl::CancelledError(reason));
}

void Balloon::Finish(const absl::Status& status) {
  std::vector<std::function<void()>> after = std::exchange(after_, {});
  pulse_.reset();
  std::exchange(done_, nullptr)(status);
  // One of them may begin a change, for which the others then wait.
  for (auto& waiting : after) AfterAll(std::move(waiting));
}

}  // namespace umld::vmcore
