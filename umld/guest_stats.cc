// What guests use of the host.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "google/protobuf/util/time_util.h"
#include "kernel/host_memory.h"
#include "umld/guest_usage.h"
#include "umld/guests.h"
#include "umld/nic_counters.h"

namespace umld {
namespace {

using google::protobuf::util::TimeUtil;

constexpr size_t kDefaultPage = 100, kMaxPage = 1000;

v1::GuestStats StatsOf(const GuestView& view, const DaemonConfig& config) {
  v1::GuestStats stats;
  stats.set_name(view.name());
  stats.set_state(view.state());
  stats.set_memory_bytes(view.row.memory_bytes);
  *stats.mutable_time() = TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(absl::Now()));
  GuestUsage usage;
  if (view.alive) {
    const ProcessIdentity kernel{view.facts.kernel().pid(), view.facts.kernel().start_ticks()};
    usage = UsageOf(kernel);
    stats.set_host_memory_bytes(kernel::HostMemoryOf(kernel));
    stats.set_reclaimed_memory_bytes(view.facts.reclaimed().total_bytes());
  }
  if (view.alive) {
    v1::Guest shown;
    ToProto(view, config.state_dir, config.run_dir, /*summary=*/false, &shown);
    FillNicCounters(view, &shown);
    for (const v1::Nic& nic : shown.nics()) {
      stats.set_nic_receive_bytes(stats.nic_receive_bytes() + nic.counters().received_bytes());
      stats.set_nic_send_bytes(stats.nic_send_bytes() + nic.counters().sent_bytes());
    }
  }
  *stats.mutable_cpu_time() = TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(usage.cpu));
  stats.set_disk_read_bytes(usage.disk_read_bytes);
  stats.set_disk_write_bytes(usage.disk_write_bytes);
  stats.set_processes(usage.processes);
  return stats;
}

}  // namespace

absl::StatusOr<v1::ListGuestStatsResponse> Guests::ListStats(const v1::ListGuestStatsRequest& request) const {
  v1::ListGuestStatsResponse response;
  if (static_cast<size_t>(request.names_size()) > kMaxPage) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(request.names_size(), " names at once"),
                     {"TOO_MANY_NAMES", "", absl::StrCat("ask for ", kMaxPage, " at a time, or for all by pages")});
  }
  for (const std::string& name : request.names()) {
    ASSIGN_OR_RETURN(const GuestPtr guest, table_->Find(name));
    *response.add_stats() = StatsOf(table_->View(guest), *config_);
  }
  if (!request.names().empty()) return response;
  std::string after;
  if (!request.page_token().empty() && !absl::WebSafeBase64Unescape(request.page_token(), &after)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the page token is not one of ours",
                     {"INVALID_PAGE_TOKEN", "", "begin again without it"});
  }
  const size_t size = request.page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page_size(), kMaxPage);
  std::vector<GuestView> views = table_->Page(after, size + 1);
  const bool more = views.size() > size;
  if (more) views.pop_back();
  for (const GuestView& view : views) *response.add_stats() = StatsOf(view, *config_);
  if (more) response.set_next_page_token(absl::WebSafeBase64Escape(views.back().row.name));
  return response;
}

}  // namespace umld
