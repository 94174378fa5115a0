#include "umld/memory_reclaim.h"

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "kernel/host_memory.h"
#include "spdlog/spdlog.h"
#include "umld/guest_usage.h"
#include "umld/vmcore_launch.h"

namespace umld {
namespace {

// A guest that uses more of a processor is not idle.
constexpr double kIdleShare = 0.01;
// Less is not worth standing still for.
constexpr uint64_t kWorthBytes = uint64_t{8} << 20;
// So much work may have freed something: it is asked again, although it takes no more host memory than before.
constexpr absl::Duration kWorked = absl::Milliseconds(100);
// All guests are asked by one thread: one that answers slowly gets no more than about this part of it.
constexpr int kShare = 10;
// vmcore takes a minute at most, half of it for a guest that boots, and the guest's kernel ten seconds to leave each of
// its requests unanswered.
constexpr absl::Duration kPatience = absl::Seconds(110);

bool IsEligible(const GuestView& view) {
  return view.alive && view.state() == v1::RUNNING && view.facts.mconsole_answers() && !view.deleting &&
         view.operation == 0 && !view.row.keeps_memory && view.facts.lent_memory_bytes() == 0;
}

}  // namespace

MemoryReclaim::~MemoryReclaim() {
  End();
  if (thread_.joinable()) thread_.join();
}

void MemoryReclaim::Begin() {
  if (config_->reclaim_after == absl::ZeroDuration()) return;
  thread_ = std::thread([this] { ThreadMain(); });
}

void MemoryReclaim::End() {
  absl::MutexLock lock(&mutex_);
  ending_ = true;
}

bool MemoryReclaim::IsEnding() {
  absl::MutexLock lock(&mutex_);
  return ending_;
}

void MemoryReclaim::ThreadMain() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ending_), config_->reclaim_after)) return;
    }
    std::set<uint64_t> there;
    for (const GuestPtr& guest : table_->All()) {
      if (IsEnding()) return;
      const GuestView view = table_->View(guest);
      there.insert(view.row.id);
      LookAt(guest, view);
    }
    std::erase_if(watches_, [&](const auto& watch) { return !there.contains(watch.first); });
  }
}

void MemoryReclaim::LookAt(const GuestPtr& guest, const GuestView& view) {
  if (!IsEligible(view)) {
    // What it has taken of our time is not forgotten.
    if (const auto known = watches_.find(view.row.id); known != watches_.end()) known->second.kernel = {};
    return;
  }
  const ProcessIdentity kernel = ToIdentity(view.facts.kernel());
  const absl::Duration cpu = UsageOf(kernel).cpu;
  const absl::Time now = absl::Now();
  const auto [found, is_new] = watches_.try_emplace(view.row.id);
  Watch& watch = found->second;
  if (is_new || watch.kernel != kernel) {
    watch = {.kernel = kernel, .time = now, .cpu = cpu, .not_before = watch.not_before};
    return;
  }
  const bool idle = cpu - watch.cpu < kIdleShare * (now - watch.time);
  watch.time = now;
  watch.cpu = cpu;
  if (!idle || now < watch.not_before) return;
  const uint64_t host_bytes = kernel::HostMemoryOf(kernel);
  if (watch.asked && host_bytes < watch.host_bytes_left + kWorthBytes && cpu - watch.cpu_when_asked < kWorked) return;
  Ask(guest, view);
  // It has worked for that too.
  watch.time = absl::Now();
  watch.not_before = watch.time + kShare * (watch.time - now);
  watch.cpu = watch.cpu_when_asked = UsageOf(kernel).cpu;
  watch.host_bytes_left = kernel::HostMemoryOf(kernel);
  watch.asked = true;
}

void MemoryReclaim::Ask(const GuestPtr& guest, const GuestView& view) {
  vmcore::v1::Request request;
  request.mutable_reclaim_memory()->set_worth_bytes(kWorthBytes);
  const absl::StatusOr<vmcore::v1::Reply> reply = runtime_->Call(guest, request, kPatience);
  if (reply.ok()) {
    const vmcore::v1::ReclaimedMemory& got = reply->facts().reclaimed();
    if (got.count() == view.facts.reclaimed().count()) return;
    spdlog::debug("guest {}: has given back {} of idle memory", view.row.name, HumanByteSize(got.bytes()));
    return;
  }
  // Paused or changed a moment ago; a vmcore of before there was this request.
  const bool usual = absl::IsFailedPrecondition(reply.status()) || absl::IsUnavailable(reply.status()) ||
                     absl::IsCancelled(reply.status()) || absl::IsUnimplemented(reply.status());
  spdlog::log(usual ? spdlog::level::debug : spdlog::level::warn, "guest {}: its idle memory: {}", view.row.name,
              std::string(reply.status().message()));
}

}  // namespace umld
