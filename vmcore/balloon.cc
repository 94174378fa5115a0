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

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

// How often, and how many times in a row, a guest is asked that has nothing free: its kernel writes back and drops
// caches meanwhile.
constexpr milliseconds kPause(50);
constexpr int kIdleRounds = 40;
constexpr char kSubject[] = "devices/mem";

// "MemFree:    1234 kB" in bytes; 0 when there is no such line.
uint64_t Field(absl::string_view meminfo, absl::string_view name) {
  size_t at = meminfo.find(absl::StrCat("\n", name, ":"));
  if (at == absl::string_view::npos) return 0;
  absl::string_view rest = meminfo.substr(at + name.size() + 2);
  rest = absl::StripLeadingAsciiWhitespace(rest);
  uint64_t kib = 0;
  return absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &kib) ? kib << 10 : 0;
}

// The kernel's own min_free_kbytes. Its allocation for a balloon may not wait, and simply stops, with no word of it,
// at three eighths of this; below five quarters the kernel begins to free caches. So: down to here.
uint64_t MinFree(uint64_t total_bytes) {
  return static_cast<uint64_t>(std::sqrt(static_cast<double>(total_bytes >> 10) * 16)) << 10;
}

std::string Command(char sign, uint64_t bytes) {
  return absl::StrCat("config mem=", std::string(1, sign), bytes >> 10, "K");
}

absl::Status Refused(absl::string_view message, absl::string_view hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message, {"MEMORY_LIMIT", kSubject, std::string(hint)});
}

}  // namespace

Balloon::Balloon(EventLoop* loop, MconsoleClient* mconsole, uint64_t memory_bytes, EventLoop::Clock::duration deadline)
    : loop_(loop), mconsole_(mconsole), memory_bytes_(memory_bytes), deadline_(deadline) {}

Balloon::~Balloon() { loop_->Cancel(timer_); }

void Balloon::Take(uint64_t bytes, Done done) {
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
  TakeNext();
}

void Balloon::TakeNext() {
  if (wanted_ == 0) return Finish(absl::OkStatus());
  mconsole_->Send("proc meminfo", deadline_, [this](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!done_) return;
    if (absl::Status status = ToStatus(answer, kSubject); !status.ok()) return GiveUpTaking(status);
    const uint64_t reserve = MinFree(Field(answer->text, "MemTotal"));
    const uint64_t available = Field(answer->text, "MemAvailable");
    if (taken_now_ == 0 && idle_rounds_ == 0 && available < wanted_ + reserve) {
      return GiveUpTaking(Refused(
          absl::StrCat("the guest needs what it has: ", HumanByteSize(available), " of its memory could be freed"),
          "take less, or end something inside the guest"));
    }
    TakePiece(Field(answer->text, "MemFree"), reserve);
  });
}

void Balloon::TakePiece(uint64_t free_bytes, uint64_t reserve) {
  const uint64_t piece =
      std::min(wanted_, free_bytes > reserve ? free_bytes - reserve : 0) / devices::kMemoryStep * devices::kMemoryStep;
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

void Balloon::AfterAll(std::function<void()> done) {
  if (!done_) return done();
  after_.push_back(std::move(done));
}

void Balloon::Abandon(absl::string_view reason) {
  loop_->Cancel(std::exchange(timer_, 0));
  if (done_) Finish(absl::CancelledError(reason));
}

void Balloon::Finish(const absl::Status& status) {
  const std::vector<std::function<void()>> after = std::exchange(after_, {});
  std::exchange(done_, nullptr)(status);
  for (const auto& waiting : after) waiting();
}

}  // namespace umld::vmcore
