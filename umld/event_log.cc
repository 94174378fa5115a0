#include "umld/event_log.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kRecentEvents = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Create(state::Store* store) {
  ASSIGN_OR_RETURN(auto range, store->EventRange());
  return std::unique_ptr<EventLog>(new EventLog(store, range.second));
}

void EventLog::Publish(const std::vector<state::EventRow>& events) {
  if (events.empty()) return;
  {
    absl::MutexLock lock(&mutex_);
    for (const state::EventRow& event : events) waiting_[event.sequence] = event;
    const uint64_t before = last_;
    while (!waiting_.empty() && waiting_.begin()->first <= last_ + 1) {
      auto first = waiting_.begin();
      if (first->first == last_ + 1) {
        last_ = first->first;
        recent_.push_back(std::move(first->second));
        if (recent_.size() > kRecentEvents) recent_.pop_front();
      }
      waiting_.erase(first);
    }
    if (last_ == before) return;
  }
  absl::MutexLock lock(&listeners_mutex_);
  for (auto& [id, changed] : listeners_) changed();
}

uint64_t EventLog::LastSequence() const {
  absl::MutexLock lock(&mutex_);
  return last_;
}

absl::StatusOr<std::vector<state::EventRow>> EventLog::Read(uint64_t after, int limit, Gaps gaps) {
  {
    absl::MutexLock lock(&mutex_);
    if (after >= last_) return std::vector<state::EventRow>();
    if (!recent_.empty() && after + 1 >= recent_.front().sequence) {
      auto begin = recent_.begin() + static_cast<int64_t>(after + 1 - recent_.front().sequence);
      auto end = begin + std::min<int64_t>(limit, recent_.end() - begin);
      return std::vector<state::EventRow>(begin, end);
    }
  }
  ASSIGN_OR_RETURN(std::vector<state::EventRow> events, store_->ListEvents(after, limit));
  // Every number was given to an event: one that is missing has been pruned.
  const bool whole = !events.empty() && events.back().sequence == after + events.size();
  if (whole || gaps == Gaps::kSkip) return events;
  return MakeError(absl::StatusCode::kOutOfRange, "some of the events after this token are no longer kept",
                   {"TOKEN_EXPIRED", "", "watch anew without a resume token"});
}

uint64_t EventLog::AddListener(std::function<void()> changed) {
  absl::MutexLock lock(&listeners_mutex_);
  uint64_t id = next_listener_++;
  listeners_[id] = std::move(changed);
  return id;
}

void EventLog::RemoveListener(uint64_t id) {
  absl::MutexLock lock(&listeners_mutex_);
  listeners_.erase(id);
}

}  // namespace umld
