#include "umld/guest_table.h"

#include <deque>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld {

class Guest {
 public:
  explicit Guest(state::GuestRow row) { view.row = std::move(row); }
  GuestView view;            // guarded by the table's mutex
  absl::Mutex commit_mutex;  // one commit at a time; taken before the table's mutex, held across the disk
  bool removed = false;      // guarded by commit_mutex
};

absl::Status GuestTable::Load() {
  ASSIGN_OR_RETURN(std::vector<state::GuestRow> rows, store_->LoadGuests());
  absl::MutexLock lock(&mutex_);
  for (state::GuestRow& row : rows) {
    std::string name = row.name;
    by_name_[name] = std::make_shared<Guest>(std::move(row));
  }
  return absl::OkStatus();
}

absl::StatusOr<GuestPtr> GuestTable::Find(absl::string_view name) const {
  absl::string_view umid = name;
  absl::ConsumePrefix(&umid, "guests/");
  absl::MutexLock lock(&mutex_);
  auto found = by_name_.find(std::string(umid));
  if (found == by_name_.end()) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no guest \"", umid, "\""),
                     {"GUEST_NOT_FOUND", absl::StrCat("guests/", umid), "`umlctl list` shows those there are"});
  }
  return found->second;
}

absl::StatusOr<GuestPtr> GuestTable::FindById(uint64_t id) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, guest] : by_name_) {
    if (guest->view.row.id == id) return guest;
  }
  return MakeError(absl::StatusCode::kNotFound, "the guest has been deleted", {"GUEST_NOT_FOUND", "", ""});
}

GuestView GuestTable::View(const GuestPtr& guest) const {
  absl::MutexLock lock(&mutex_);
  return guest->view;
}

void GuestTable::Look(const GuestPtr& guest, const std::function<void(const GuestView&)>& look) const {
  absl::MutexLock lock(&mutex_);
  look(guest->view);
}

std::vector<GuestPtr> GuestTable::All() const {
  absl::MutexLock lock(&mutex_);
  std::vector<GuestPtr> guests;
  for (const auto& [name, guest] : by_name_) guests.push_back(guest);
  return guests;
}

void GuestTable::Walk(const std::string& after, const std::function<bool(const GuestView&)>& look) const {
  // Some hundred microseconds of the lock at a time.
  constexpr int kAtOnce = 64;
  std::string last = after;
  while (true) {
    absl::MutexLock lock(&mutex_);
    auto at = last.empty() ? by_name_.begin() : by_name_.upper_bound(last);
    for (int shown = 0; shown < kAtOnce; ++shown, ++at) {
      if (at == by_name_.end() || !look(at->second->view)) return;
      last = at->first;
    }
  }
}

std::vector<GuestView> GuestTable::Page(const std::string& after, size_t limit) const {
  std::vector<GuestView> views;
  Walk(after, [&](const GuestView& view) {
    if (views.size() == limit) return false;
    views.push_back(view);
    return true;
  });
  return views;
}

std::vector<GuestView> GuestTable::Views() const { return Page("", SIZE_MAX); }

absl::StatusOr<GuestPtr> GuestTable::Insert(state::GuestRow row, const Complete& complete,
                                            state::OperationRow* operation, const std::function<void()>& undo) {
  absl::MutexLock insert_lock(&insert_mutex_);
  const bool begun = operation != nullptr && operation->id != 0;
  std::vector<state::EventRow> events(1);
  events[0].type = "guest.created";
  events[0].subject = absl::StrCat("guests/", row.name);
  events[0].guest_state = v1::STOPPED;
  events[0].time_ns = row.created_ns;
  const absl::Status committed = store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(row.id, transaction.InsertGuest(row));
    RETURN_IF_ERROR(complete(row, transaction));
    RETURN_IF_ERROR(transaction.UpdateGuest(row));
    if (operation != nullptr) operation->guest_id = row.id;
    if (begun) {
      RETURN_IF_ERROR(transaction.UpdateOperation(*operation));
    } else if (operation != nullptr) {
      ASSIGN_OR_RETURN(operation->id, transaction.InsertOperation(*operation));
    }
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    return absl::OkStatus();
  });
  if (!committed.ok()) {
    if (undo) undo();
    return committed;
  }
  auto guest = std::make_shared<Guest>(row);
  {
    absl::MutexLock lock(&mutex_);
    by_name_[row.name] = guest;
  }
  events_->Publish(events);
  if (begun) operations_->Published(*operation);
  return guest;
}

absl::Status GuestTable::Commit(const GuestPtr& guest, const Change& change) { return CommitAll({{guest, change}}); }

absl::Status GuestTable::CommitAll(const std::vector<std::pair<GuestPtr, Change>>& changes) {
  struct Prepared {
    const GuestPtr& guest;
    const Change& change;
    std::string old_name;
    GuestView after;
    std::vector<state::EventRow> events;
  };
  // Always in the same order, so that two of these do not wait for each other.
  std::set<Guest*> in_order;
  for (const auto& [guest, change] : changes) in_order.insert(guest.get());
  std::deque<absl::MutexLock> locks;
  for (Guest* guest : in_order) locks.emplace_back(&guest->commit_mutex);

  std::vector<Prepared> all;
  for (const auto& [guest, change] : changes) {
    GuestView after = View(guest);
    const std::string old_name = after.row.name;
    if (guest->removed) {
      return MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", old_name, " has been deleted"),
                       {"GUEST_NOT_FOUND", absl::StrCat("guests/", old_name), ""});
    }
    if (change.edit) RETURN_IF_ERROR(change.edit(after.row));
    if (change.apply) change.apply(after);
    std::vector<state::EventRow> events = change.events;
    for (state::EventRow& event : events) {
      if (event.subject.empty()) event.subject = after.name();
      if (event.guest_state == 0) event.guest_state = after.state();
      event.time_ns = absl::ToUnixNanos(absl::Now());
    }
    all.push_back({guest, change, old_name, std::move(after), std::move(events)});
  }
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    for (Prepared& one : all) {
      if (one.change.edit) RETURN_IF_ERROR(transaction.UpdateGuest(one.after.row));
      if (one.change.also) RETURN_IF_ERROR(one.change.also(transaction));
      for (state::EventRow& event : one.events) {
        ASSIGN_OR_RETURN(event.sequence, transaction.AppendEvent(event));
      }
      if (one.change.finished != nullptr) RETURN_IF_ERROR(transaction.UpdateOperation(*one.change.finished));
    }
    return absl::OkStatus();
  }));
  {
    absl::MutexLock lock(&mutex_);
    for (Prepared& one : all) {
      one.guest->view.row = one.after.row;
      // Applied anew: facts may have changed while the disk was written.
      if (one.change.apply) one.change.apply(one.guest->view);
      if (one.after.row.name != one.old_name) {
        by_name_.erase(one.old_name);
        by_name_[one.after.row.name] = one.guest;
      }
    }
  }
  for (const Prepared& one : all) events_->Publish(one.events);
  for (const Prepared& one : all) {
    if (one.change.finished != nullptr) operations_->Published(*one.change.finished);
  }
  return absl::OkStatus();
}

absl::Status GuestTable::Remove(const GuestPtr& guest, const state::OperationRow* finished) {
  absl::MutexLock commit_lock(&guest->commit_mutex);
  const GuestView view = View(guest);
  if (guest->removed) return absl::OkStatus();
  std::vector<state::EventRow> events(1);
  events[0].type = "guest.deleted";
  events[0].subject = view.name();
  events[0].guest_state = v1::STOPPED;
  events[0].time_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(transaction.DeleteGuest(view.row.id));
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    if (finished != nullptr) RETURN_IF_ERROR(transaction.UpdateOperation(*finished));
    return absl::OkStatus();
  }));
  guest->removed = true;
  {
    absl::MutexLock lock(&mutex_);
    by_name_.erase(view.row.name);
  }
  events_->Publish(events);
  if (finished != nullptr) operations_->Published(*finished);
  return absl::OkStatus();
}

void GuestTable::Update(const GuestPtr& guest, const std::function<void(GuestView&)>& change) {
  absl::MutexLock lock(&mutex_);
  change(guest->view);
}

bool GuestTable::WaitUntil(const GuestPtr& guest, absl::Duration timeout,
                           const std::function<bool(const GuestView&)>& reached) {
  absl::MutexLock lock(&mutex_);
  auto condition = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return reached(guest->view); };
  return mutex_.AwaitWithTimeout(absl::Condition(&condition), timeout);
}

}  // namespace umld
