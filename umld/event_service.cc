#include "umld/event_service.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "google/protobuf/util/time_util.h"
#include "umld/grpc_status.h"

namespace umld {
namespace {

constexpr int kEventsPerRead = 64;
constexpr size_t kGuestsPerMessage = 100;

v1::Event ToProto(const state::EventRow& row) {
  v1::Event event;
  event.set_sequence(row.sequence);
  *event.mutable_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(row.time_ns);
  event.set_type(row.type);
  event.set_subject(row.subject);
  event.set_state(static_cast<v1::GuestState>(row.guest_state));
  event.set_message(row.message);
  return event;
}

// One watcher. It writes one message at a time; when it has caught up with the log it sleeps until the log grows.
// Filling the queue may read the database, so it runs on the pool; `self_` keeps the object alive until gRPC and the
// pool are both done with it.
class Watcher : public grpc::ServerWriteReactor<v1::WatchResponse>, public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(EventLog* events, WorkerPool* pool, std::string subject)
      : events_(events), pool_(pool), subject_(std::move(subject)) {}

  // Of the events up to `kept_until` those that are kept are sent; behind it none may be missing.
  void Begin(std::deque<v1::WatchResponse> snapshot, uint64_t position, uint64_t kept_until) {
    {
      absl::MutexLock lock(&mutex_);
      self_ = shared_from_this();
      queue_ = std::move(snapshot);
      position_ = position;
      kept_until_ = kept_until;
    }
    std::weak_ptr<Watcher> weak = shared_from_this();
    listener_ = events_->AddListener([weak] {
      if (auto watcher = weak.lock()) watcher->Pump();
    });
    Pump();
  }

  void Refuse(const absl::Status& status) {
    self_ = shared_from_this();
    Finish(ToGrpc(status));
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok) cancelled_ = true;
    }
    Pump();
  }
  void OnCancel() override {
    {
      absl::MutexLock lock(&mutex_);
      cancelled_ = true;
    }
    Pump();
  }
  void OnDone() override {
    // Not from here: this may run inside a listener's call.
    if (listener_ != 0) pool_->Submit([events = events_, id = listener_] { events->RemoveListener(id); });
    std::shared_ptr<Watcher> last = std::move(self_);
  }

 private:
  // Takes one step: end, write the next message, or fetch more. gRPC is called without the mutex.
  void Pump() {
    absl::ReleasableMutexLock lock(&mutex_);
    if (finished_ || writing_) return;
    if (cancelled_ || !failure_.ok()) {
      finished_ = true;
      const grpc::Status status = cancelled_ ? grpc::Status::CANCELLED : ToGrpc(failure_);
      lock.Release();
      return Finish(status);
    }
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      lock.Release();
      return StartWrite(&current_);
    }
    if (fetching_) {
      fetch_again_ = true;
      return;
    }
    fetching_ = true;
    lock.Release();
    pool_->Submit([self = shared_from_this()] { self->Fetch(); });
  }

  void Fetch() {
    uint64_t position;
    EventLog::Gaps gaps;
    {
      absl::MutexLock lock(&mutex_);
      fetch_again_ = false;
      position = position_;
      gaps = position < kept_until_ ? EventLog::Gaps::kSkip : EventLog::Gaps::kRefuse;
    }
    absl::StatusOr<std::vector<state::EventRow>> rows = events_->Read(position, kEventsPerRead, gaps);
    bool more;
    {
      absl::MutexLock lock(&mutex_);
      fetching_ = false;
      if (!rows.ok()) failure_ = rows.status();
      for (const state::EventRow& row : rows.ok() ? *rows : std::vector<state::EventRow>()) {
        position_ = row.sequence;
        if (!subject_.empty() && row.subject != subject_ && !absl::StartsWith(row.subject, subject_ + "/")) continue;
        v1::WatchResponse response;
        *response.mutable_event() = ToProto(row);
        response.set_resume_token(absl::StrCat(row.sequence));
        queue_.push_back(std::move(response));
      }
      more = !queue_.empty() || fetch_again_ || !failure_.ok() || cancelled_ || (rows.ok() && !rows->empty());
    }
    if (more) Pump();
  }

  EventLog* const events_;
  WorkerPool* const pool_;
  const std::string subject_;
  uint64_t listener_ = 0;
  std::shared_ptr<Watcher> self_;
  absl::Mutex mutex_;
  std::deque<v1::WatchResponse> queue_ ABSL_GUARDED_BY(mutex_);
  v1::WatchResponse current_;  // of the write under way
  uint64_t position_ ABSL_GUARDED_BY(mutex_) = 0, kept_until_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false, fetching_ ABSL_GUARDED_BY(mutex_) = false;
  bool fetch_again_ ABSL_GUARDED_BY(mutex_) = false, cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::vector<GuestPtr> EventService::GuestsOf(const std::string& subject) const {
  if (subject.empty()) return table_->All();
  // A thousand watchers of one guest each must not show all guests a thousand times.
  absl::StatusOr<GuestPtr> guest = table_->Find(subject);
  return guest.ok() ? std::vector<GuestPtr>{*guest} : std::vector<GuestPtr>();
}

grpc::ServerWriteReactor<v1::WatchResponse>* EventService::Watch(grpc::CallbackServerContext*,
                                                                 const v1::WatchRequest* request) {
  auto watcher = std::make_shared<Watcher>(events_, pool_, request->subject());
  uint64_t position = events_->LastSequence(), kept_until = 0;
  std::deque<v1::WatchResponse> queue;
  if (!request->resume_token().empty()) {
    uint64_t token = 0;
    if (!absl::SimpleAtoi(request->resume_token(), &token) || token > position) {
      watcher->Refuse(MakeError(absl::StatusCode::kOutOfRange, "the resume token is not of this umld's events",
                                {"TOKEN_EXPIRED", "", "watch anew without a resume token"}));
      return watcher.get();
    }
    // 0 is before the first event.
    if (token == 0) kept_until = position;
    position = token;
  } else if (!request->skip_snapshot()) {
    // The position was read before the snapshot: what happens in between is told twice rather than not at all.
    v1::WatchResponse message;
    for (const GuestPtr& guest : GuestsOf(request->subject())) {
      v1::Guest shown = guests_->Show(guest);
      if (!request->subject().empty() && shown.name() != request->subject()) continue;
      *message.add_snapshot() = std::move(shown);
      if (static_cast<size_t>(message.snapshot_size()) < kGuestsPerMessage) continue;
      queue.push_back(std::exchange(message, {}));
    }
    message.set_snapshot_done(true);
    message.set_resume_token(absl::StrCat(position));
    queue.push_back(std::move(message));
  }
  watcher->Begin(std::move(queue), position, kept_until);
  return watcher.get();
}

}  // namespace umld
