// The memory of a running guest: a balloon, taken and given back.
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "devices/memory/memory_spec.h"
#include "umld/guests.h"

namespace umld {
namespace {

using vmcore::v1::Facts;
using vmcore::v1::Request;

// A guest that has to write its caches back first takes its time.
constexpr absl::Duration kMemoryPatience = absl::Seconds(80);

// What tells, after a restart of umld, whether the change happened: a change is made whole or not at all, to one
// kernel.
struct MemoryPayload {
  std::string spec;            // "mem=-64M"
  int64_t kernel_started = 0;  // which kernel was asked
  uint64_t lent_before = 0, lent_after = 0;

  std::string Encode() const { return absl::StrCat(spec, " ", kernel_started, " ", lent_before, " ", lent_after); }
  static std::optional<MemoryPayload> Decode(const std::string& text) {
    const std::vector<std::string> words = absl::StrSplit(text, ' ');
    MemoryPayload payload;
    if (words.size() != 4 || !absl::SimpleAtoi(words[1], &payload.kernel_started) ||
        !absl::SimpleAtoi(words[2], &payload.lent_before) || !absl::SimpleAtoi(words[3], &payload.lent_after)) {
      return std::nullopt;
    }
    payload.spec = words[0];
    return payload;
  }
};

std::string MemoryResource(const GuestView& view) { return absl::StrCat(view.name(), "/devices/mem"); }

v1::Device ToDevice(const GuestView& view, const std::string& spec) {
  v1::Device device;
  device.set_name(MemoryResource(view));
  device.set_spec(spec.substr(spec.find('=') + 1));
  return device;
}

}  // namespace

absl::StatusOr<v1::Device> Guests::ChangeMemory(const GuestPtr& guest, const std::string& spec,
                                                const std::string& request_id) {
  const GuestView view = table_->View(guest);
  ASSIGN_OR_RETURN(const int64_t delta, devices::ParseMemoryChange(spec));
  MemoryPayload payload;
  payload.spec = spec;
  payload.kernel_started = view.facts.started_unix_ns();
  payload.lent_before = view.facts.lent_memory_bytes();
  payload.lent_after = payload.lent_before - static_cast<uint64_t>(delta);
  state::OperationRow row;
  row.verb = "memory";
  row.guest_id = view.row.id;
  row.target = MemoryResource(view);
  row.payload = payload.Encode();
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) {
    RETURN_IF_ERROR(*repeated);
    return ToDevice(view, spec);
  }
  Request request;
  request.mutable_change_memory()->set_delta_bytes(delta);
  const auto reply = runtime_->Call(guest, request, kMemoryPatience);
  if (!reply.ok()) {
    absl::Status refused = Annotate(reply.status(), "guest " + view.row.name);
    operations_->Finish(begun.row, refused);
    return refused;
  }
  absl::Status committed = CommitMemoryChange(guest, spec, reply->facts(), begun.row);
  // The memory has changed hands all the same, and vmcore knows: what is lost is the event.
  if (!committed.ok()) operations_->Finish(begun.row, absl::OkStatus());
  return ToDevice(view, spec);
}

absl::Status Guests::CommitMemoryChange(const GuestPtr& guest, const std::string& spec, const Facts& facts,
                                        const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  state::EventRow event;
  event.type = "memory.changed";
  event.subject = view.name();
  event.message = absl::StrCat(spec, ": ", FormatByteSize(facts.lent_memory_bytes()), " of ",
                               FormatByteSize(view.row.memory_bytes), " lent to the host");
  GuestTable::Change change;
  change.events = {event};
  change.finished = &done;
  change.apply = [&](GuestView& now) {
    if (now.alive) now.facts = facts;
  };
  return table_->Commit(guest, change);
}

void Guests::ResumeMemoryChange(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = Settled(guest, operation);
  const std::optional<MemoryPayload> payload = MemoryPayload::Decode(operation.payload);
  const bool same_kernel = view.alive && payload && view.facts.started_unix_ns() == payload->kernel_started;
  absl::Status status = Interrupted(view, operation);
  if (same_kernel && view.unreachable_reason.empty() && view.facts.lent_memory_bytes() == payload->lent_after) {
    status = CommitMemoryChange(guest, payload->spec, view.facts, operation);
  }
  if (!status.ok()) operations_->Finish(operation, status);
}

}  // namespace umld
