#include "umld/operations.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "spdlog/spdlog.h"

namespace umld {
namespace {

constexpr size_t kMostPayload = 64 << 10;

absl::Status NoSuchOperation(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no operation \"", name, "\""),
                   {"OPERATION_NOT_FOUND", std::string(name), "`umlctl operations list` shows those that are kept"});
}

}  // namespace

absl::StatusOr<uint64_t> ParseOperationName(absl::string_view name) {
  absl::string_view number = name;
  uint64_t id = 0;
  absl::ConsumePrefix(&number, "operations/");
  if (!absl::SimpleAtoi(number, &id) || id == 0) return NoSuchOperation(name);
  return id;
}

absl::Status OperationStatus(const state::OperationRow& row) {
  if (row.code == absl::StatusCode::kOk) return absl::OkStatus();
  return MakeError(row.code, row.message, {row.reason, row.subject, row.hint});
}

absl::StatusOr<Operations::Begun> Operations::Begin(state::OperationRow row) {
  if (row.request_id.size() > 64) {
    return MakeError(absl::StatusCode::kInvalidArgument, "request_id is longer than 64 characters",
                     {"INVALID_REQUEST_ID", row.target, ""});
  }
  // What it is to do is kept for a day, and read with every list.
  if (row.payload.size() > kMostPayload) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("the request has ", row.payload.size(), " bytes"),
                     {"REQUEST_TOO_LARGE", row.target, absl::StrCat("at most ", kMostPayload, " are kept of one")});
  }
  row.created_ns = absl::ToUnixNanos(absl::Now());
  if (!row.request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(row.request_id));
    if (earlier.has_value()) return Begun{*earlier, false};
  }
  absl::Status status = store_->Commit([&row](state::Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(row.id, transaction.InsertOperation(row));
    return absl::OkStatus();
  });
  if (absl::IsAlreadyExists(status)) {  // two retries at once: the other was quicker
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(row.request_id));
    if (earlier.has_value()) return Begun{*earlier, false};
  }
  RETURN_IF_ERROR(status);
  Resume(row);
  return Begun{row, true};
}

void Operations::Resume(const state::OperationRow& row) {
  absl::MutexLock lock(&mutex_);
  active_[row.id].view.row = row;
}

void Operations::SetProgress(uint64_t id, uint32_t percent, absl::string_view what) {
  absl::MutexLock lock(&mutex_);
  auto found = active_.find(id);
  if (found == active_.end()) return;
  found->second.view.percent = percent;
  found->second.view.progress = std::string(what);
  found->second.view.done_bytes = found->second.view.total_bytes = 0;
}

absl::Status Operations::SetByteProgress(uint64_t id, absl::string_view what, uint64_t done, uint64_t total) {
  absl::MutexLock lock(&mutex_);
  auto found = active_.find(id);
  if (found == active_.end()) return absl::OkStatus();
  OperationView& view = found->second.view;
  view.percent = total == 0 ? 0 : static_cast<uint32_t>(std::min(1.0, static_cast<double>(done) / total) * 100);
  view.progress = std::string(what);
  view.done_bytes = done;
  view.total_bytes = total;
  if (!found->second.cancelled) return absl::OkStatus();
  return MakeError(absl::StatusCode::kCancelled, "it was cancelled", {"CANCELLED", view.row.target, ""});
}

void Operations::SetNote(uint64_t id, absl::string_view note) {
  absl::MutexLock lock(&mutex_);
  if (auto found = active_.find(id); found != active_.end()) found->second.note = std::string(note);
}

void Operations::AllowCancel(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  if (auto found = active_.find(id); found != active_.end()) found->second.cancellable = true;
}

absl::Status Operations::Cancel(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    if (auto found = active_.find(id); found != active_.end()) {
      if (!found->second.cancellable) {
        return MakeError(absl::StatusCode::kFailedPrecondition,
                         absl::StrCat(OperationName(id), " (", found->second.view.row.verb, ") cannot be cancelled"),
                         {"NOT_CANCELLABLE", OperationName(id), "wait for its end"});
      }
      found->second.cancelled = true;
      return absl::OkStatus();
    }
  }
  return Get(id).status();
}

state::OperationRow Operations::Outcome(state::OperationRow row, const absl::Status& status) {
  ErrorDetail detail = GetErrorDetail(status);
  row.done = true;
  row.code = status.code();
  row.message = std::string(status.message());
  row.reason = detail.reason;
  row.subject = detail.subject;
  row.hint = detail.hint;
  row.ended_ns = absl::ToUnixNanos(absl::Now());
  return row;
}

void Operations::Published(const state::OperationRow& done) {
  Active ended;
  {
    absl::MutexLock lock(&mutex_);
    auto found = active_.find(done.id);
    if (found == active_.end()) return;
    ended = std::move(found->second);
    active_.erase(found);
  }
  for (auto& [id, waiter] : ended.waiters) waiter(OperationView{.row = done, .percent = 100});
}

void Operations::Finish(const state::OperationRow& row, const absl::Status& status) {
  state::OperationRow done = Outcome(row, status);
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    if (auto found = active_.find(row.id); found != active_.end()) done.message = found->second.note;
  }
  absl::Status committed =
      store_->Commit([&done](state::Transaction& transaction) { return transaction.UpdateOperation(done); });
  // Those who wait hear the outcome even when it could not be written; after a restart it is found out anew.
  if (!committed.ok())
    spdlog::error("{}: outcome not recorded: {}", OperationName(row.id), std::string(committed.message()));
  Published(done);
}

absl::StatusOr<OperationView> Operations::Get(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    auto found = active_.find(id);
    if (found != active_.end()) return found->second.view;
  }
  ASSIGN_OR_RETURN(auto row, store_->FindOperation(id));
  if (!row.has_value()) return NoSuchOperation(OperationName(id));
  return OperationView{.row = *row, .percent = row->done ? 100u : 0u};
}

absl::StatusOr<std::vector<OperationView>> Operations::List(uint64_t before_id, int limit, bool unfinished_only) {
  ASSIGN_OR_RETURN(auto rows, store_->ListOperations(before_id, limit, unfinished_only));
  std::vector<OperationView> views;
  absl::MutexLock lock(&mutex_);
  for (state::OperationRow& row : rows) {
    auto found = active_.find(row.id);
    if (found != active_.end()) {
      views.push_back(found->second.view);
    } else {
      views.push_back({.row = std::move(row), .percent = 100});
    }
  }
  return views;
}

void Operations::Wait(uint64_t id, absl::Duration timeout, std::function<void(absl::StatusOr<OperationView>)> done) {
  {
    absl::MutexLock lock(&mutex_);
    auto found = active_.find(id);
    if (found != active_.end()) {
      uint64_t waiter = next_waiter_++;
      found->second.waiters[waiter] = std::move(done);
      loop_->Post([this, id, waiter, timeout] {
        loop_->RunAfter(std::chrono::nanoseconds(absl::ToInt64Nanoseconds(timeout)),
                        [this, id, waiter] { EndWait(id, waiter); });
      });
      return;
    }
  }
  done(Get(id));
}

void Operations::EndWait(uint64_t id, uint64_t waiter) {
  std::function<void(absl::StatusOr<OperationView>)> done;
  OperationView view;
  {
    absl::MutexLock lock(&mutex_);
    auto found = active_.find(id);
    if (found == active_.end()) return;
    auto entry = found->second.waiters.find(waiter);
    if (entry == found->second.waiters.end()) return;
    done = std::move(entry->second);
    found->second.waiters.erase(entry);
    view = found->second.view;
  }
  done(view);
}

}  // namespace umld
