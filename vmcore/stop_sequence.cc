#include "vmcore/stop_sequence.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSyncAtMost(1000);
constexpr milliseconds kRemountAtMost(4000);
// The emergency sync starts the journal's commit and does not wait for it. An init that ignores ctrl-alt-del lets the
// kernel restart at once; this is the time that the commit then has.
constexpr milliseconds kCommit(100);
constexpr absl::string_view kSyncComplete = "Emergency Sync complete";
constexpr absl::string_view kRemountComplete = "Emergency Remount complete";

}  // namespace

StopSequence::StopSequence(EventLoop* loop, Kernel kernel, const StopGraces& graces)
    : loop_(loop), kernel_(std::move(kernel)), graces_(graces) {
  if (!kernel_.mconsole_up) {
    Enter(Stage::kTerm);  // nothing is mounted yet that could be lost
    return;
  }
  // Always: a pause may be on its way. Harmless when the guest runs.
  kernel_.mconsole->Send("go", milliseconds(1000), [](const absl::StatusOr<MconsoleAnswer>&) {});
  Enter(graces_.skip_orderly ? Stage::kHalt : Stage::kOrderly);
}

StopSequence::~StopSequence() {
  loop_->Cancel(stage_timer_);
  loop_->Cancel(sync_timer_);
  *epoch_ = -1;
}

absl::string_view StopSequence::stage() const {
  switch (stage_) {
    case Stage::kOrderly:
      return "orderly";
    case Stage::kHalt:
      return "halt";
    case Stage::kTerm:
      return "sigterm";
    case Stage::kKill:
      return "kill";
  }
  return "?";
}

void StopSequence::Enter(Stage stage) {
  ++*epoch_;
  stage_ = stage;
  entered_ = Clock::now();
  after_sync_.clear();
  awaited_ = {};
  loop_->Cancel(std::exchange(sync_timer_, 0));
  Log(absl::StrCat("stop: ", this->stage()));
  Arm();
  switch (stage) {
    case Stage::kOrderly:
      return SyncThen("sysrq s", kSyncComplete, kSyncAtMost, "cad");
    case Stage::kHalt:
      // Read-only first: unlike a sync it waits for the journal, so that `halt`, which stops the machine as it stands,
      // finds the filesystems clean.
      return SyncThen("sysrq u", kRemountComplete, kRemountAtMost, "halt");
    case Stage::kTerm:
      return kernel_.terminate();
    case Stage::kKill:
      return kernel_.kill();
  }
}

milliseconds StopSequence::Grace() const {
  switch (stage_) {
    case Stage::kOrderly:
      return graces_.orderly;
    case Stage::kHalt:
      return graces_.halt;
    case Stage::kTerm:
      return graces_.term;
    case Stage::kKill:
      break;
  }
  return milliseconds(0);
}

void StopSequence::Arm() {
  loop_->Cancel(std::exchange(stage_timer_, 0));
  if (stage_ == Stage::kKill) return;
  auto left = entered_ + Grace() - Clock::now();
  stage_timer_ = loop_->RunAfter(std::max<Clock::duration>(left, Clock::duration::zero()), [this] {
    stage_timer_ = 0;
    NextStage();
  });
}

void StopSequence::NextStage() {
  if (stage_ != Stage::kKill) Enter(static_cast<Stage>(static_cast<int>(stage_) + 1));
}

void StopSequence::Shorten(const StopGraces& graces) {
  graces_.orderly = std::min(graces_.orderly, graces.orderly);
  graces_.halt = std::min(graces_.halt, graces.halt);
  graces_.term = std::min(graces_.term, graces.term);
  if (graces.skip_orderly && stage_ == Stage::kOrderly) return Enter(Stage::kHalt);
  Arm();
}

void StopSequence::SyncThen(std::string request, absl::string_view completion, milliseconds at_most,
                            std::string command) {
  after_sync_ = std::move(command);
  awaited_ = completion;
  sync_offset_ = kernel_.console_offset();
  sync_timer_ = loop_->RunAfter(at_most, [this] {
    sync_timer_ = 0;
    SyncDone();
  });
  kernel_.mconsole->Send(std::move(request), at_most,
                         [this, epoch = epoch_, now = *epoch_](const absl::StatusOr<MconsoleAnswer>& answer) {
                           // No answer, no sync to wait for.
                           if (*epoch == now && !answer.ok()) SyncDone();
                         });
}

void StopSequence::OnConsoleOutput() {
  if (awaited_.empty() || !absl::StrContains(kernel_.console_since(sync_offset_), awaited_)) return;
  awaited_ = {};
  if (stage_ != Stage::kOrderly) return SyncDone();
  loop_->Cancel(std::exchange(sync_timer_, 0));
  sync_timer_ = loop_->RunAfter(kCommit, [this] {
    sync_timer_ = 0;
    SyncDone();
  });
}

void StopSequence::SyncDone() {
  loop_->Cancel(std::exchange(sync_timer_, 0));
  awaited_ = {};
  if (!after_sync_.empty()) Command(std::exchange(after_sync_, {}));
}

void StopSequence::Command(std::string command) {
  kernel_.mconsole->Send(std::move(command), std::max(Grace(), milliseconds(1)),
                         [this, epoch = epoch_, now = *epoch_](const absl::StatusOr<MconsoleAnswer>& answer) {
                           // The kernel's end comes first and destroys us; what comes here is refused or unreachable.
                           if (*epoch == now && !answer.ok() && !absl::IsCancelled(answer.status())) NextStage();
                         });
}

}  // namespace umld::vmcore
