// How a guest looks in the API: GuestView to umld.v1.Guest.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "google/protobuf/util/time_util.h"
#include "umld/console_wish.h"
#include "umld/guest_table.h"
#include "umld/nic_wish.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

using google::protobuf::util::TimeUtil;

void FillExit(const state::ExitRow& row, bool summary, v1::GuestExit* out) {
  out->set_kind(static_cast<v1::GuestExit::Kind>(row.kind));
  out->set_reason(row.reason);
  out->set_exit_code(row.exit_code);
  out->set_signal(row.signal);
  out->set_stop_stage(row.stop_stage);
  *out->mutable_time() = TimeUtil::NanosecondsToTimestamp(row.time_ns);
  if (summary || row.last_lines.empty()) return;
  for (absl::string_view line : absl::StrSplit(row.last_lines, '\n')) out->add_last_lines(std::string(line));
}

bool SameUnit(const state::DiskRow& disk, const vmcore::v1::Disk& other) { return disk.unit == other.unit(); }

void FillDisks(const GuestView& view, bool summary, v1::Guest* out) {
  auto add = [&](const state::DiskRow& disk, bool persistent) {
    if (summary) {
      out->add_disks()->set_name(absl::StrCat(out->name(), "/disks/", devices::DiskName(disk.unit)));
    } else {
      *out->add_disks() = DiskToProto(view, disk, persistent);
    }
  };
  for (const state::DiskRow& disk : view.row.disks) add(disk, true);
  if (!view.alive) return;
  for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
    bool persistent = false;
    for (const state::DiskRow& disk : view.row.disks) persistent = persistent || SameUnit(disk, live);
    if (!persistent) add(FromVmcoreDisk(live), false);
  }
}

struct Channels {
  bool readable = false;
  devices::ConsoleChannel in, out;
};

Channels ReadChannels(absl::string_view text) {
  Channels read;
  read.readable = devices::ParseConsoleChannels(text, &read.in, &read.out).ok();
  return read;
}

void SetEndpoint(const devices::ConsoleChannel& channel, v1::ConsoleEndpoint* out) {
  // Both enums have UML's kinds, in one order.
  out->set_kind(static_cast<v1::ConsoleEndpoint::Kind>(static_cast<int>(channel.kind) + 1));
  out->set_fd(channel.fd);
  out->set_port(channel.port);
  // An empty string costs a message as much as a long one, and a list has thousands of these.
  if (!channel.address.empty()) out->set_address(channel.address);
  if (!channel.path.empty()) out->set_path(channel.path);
}

void AddConsole(const GuestView& view, const std::string& state_dir, const devices::ConsoleDevice& line,
                v1::Guest* out) {
  const std::string device = devices::ConsoleName(line);
  v1::Console* console = out->add_consoles();
  console->set_name(absl::StrCat(view.name(), "/consoles/", device));
  console->set_log_path(absl::StrCat(state_dir, "/guests/", view.row.id, "/", device, ".log"));
  if (device == "con0") console->set_role("kernel messages");
  if (device == "con1") console->set_role("login");
  std::string channels = WantedConsole(view.row, line);
  console->set_persistent(channels != "null");
  for (const vmcore::v1::ConsoleFacts& facts : view.facts.consoles()) {
    if (!view.alive || facts.name() != device) continue;
    console->set_persistent(channels == facts.channels());
    channels = facts.channels();
    console->set_plugged(true);
    console->set_reported(facts.reported());
    console->set_host_tty(facts.host_tty());
    console->set_viewers(facts.viewers());
    console->set_bytes_out(facts.bytes_out());
  }
  // Nearly all are alike.
  static const Channels* const usual = new Channels(ReadChannels(kOwnChannels));
  std::optional<Channels> other;
  if (channels != kOwnChannels) other = ReadChannels(channels);
  const Channels& read = other.has_value() ? *other : *usual;
  console->set_channels(std::move(channels));
  if (!read.readable) return;
  SetEndpoint(read.in, console->mutable_input());
  SetEndpoint(read.out, console->mutable_output());
}

// con0 and con1, what the running kernel has, and what the next one gets.
void FillConsoles(const GuestView& view, const std::string& state_dir, v1::Guest* out) {
  std::vector<devices::ConsoleDevice> lines = {{false, 0}, {false, 1}};
  auto add = [&lines](absl::string_view name) {
    if (absl::StatusOr<devices::ConsoleDevice> line = devices::ParseConsoleName(name); line.ok())
      lines.push_back(*line);
  };
  if (view.alive) {
    for (const vmcore::v1::ConsoleFacts& facts : view.facts.consoles()) add(facts.name());
  }
  for (const state::ConsoleRow& row : view.row.consoles) add(row.device);
  std::sort(lines.begin(), lines.end());
  lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
  for (const devices::ConsoleDevice& line : lines) AddConsole(view, state_dir, line, out);
}

void FillNics(const GuestView& view, v1::Guest* out) {
  const std::vector<state::NicRow> live = LiveNics(view);
  std::vector<state::NicRow> all = view.row.nics;
  for (const state::NicRow& nic : live) {
    if (FindNicRow(all, nic.device) == nullptr) AddNicRow(&all, nic);
  }
  for (const state::NicRow& nic : all) {
    *out->add_nics() = NicToProto(view, nic, FindNicRow(view.row.nics, nic.device) != nullptr);
  }
}

std::string IsolationName(vmcore::v1::Isolation isolation) {
  switch (isolation) {
    case vmcore::v1::ISOLATION_PID_NAMESPACE:
      return "pid namespace";
    case vmcore::v1::ISOLATION_USER_NAMESPACE:
      return "user namespace";
    case vmcore::v1::ISOLATION_PROCESS_GROUP:
      return "process group";
    default:
      return "";
  }
}

void FillFacts(const GuestView& view, const std::string& run_dir, bool summary, v1::Guest* out) {
  if (!view.alive) return;
  if (view.facts.started_unix_ns() != 0) {
    *out->mutable_start_time() = TimeUtil::NanosecondsToTimestamp(view.facts.started_unix_ns());
  }
  v1::GuestProcesses* processes = out->mutable_processes();
  processes->set_supervisor_pid(view.facts.vmcore().pid());
  processes->set_init_pid(view.facts.init().pid());
  processes->set_kernel_pid(view.facts.kernel().pid());
  processes->set_runtime_directory(absl::StrCat(run_dir, "/guests/", view.row.id));
  out->set_kernel_version(view.facts.kernel_version());
  out->set_isolation(IsolationName(view.facts.isolation()));
  for (const vmcore::v1::ConfinementPoint& point : view.facts.confinement_points()) {
    if (summary) break;
    v1::ConfinementPoint* shown = out->add_confinement_points();
    shown->set_name(point.name());
    shown->set_in_force(point.in_force());
    shown->set_detail(point.detail());
  }
  out->set_boots(view.facts.boots());
  out->set_start_kind(view.facts.warm() ? v1::WARM : v1::COLD);
  out->set_lent_memory_bytes(view.facts.lent_memory_bytes());
  if (const vmcore::v1::ReclaimedMemory& got = view.facts.reclaimed(); got.count() > 0) {
    v1::ReclaimedMemory* shown = out->mutable_reclaimed_memory();
    *shown->mutable_time() = TimeUtil::NanosecondsToTimestamp(got.unix_ns());
    shown->set_bytes(got.bytes());
    shown->set_total_bytes(got.total_bytes());
    shown->set_count(got.count());
    *shown->mutable_longest_stop() = TimeUtil::MicrosecondsToDuration(got.longest_stop_us());
  }
  out->set_unreachable_reason(view.unreachable_reason);
  if (view.state() == v1::PAUSED) out->set_pause_reason(view.pause_reason);
}

}  // namespace

bool GuestView::may_be_relaxed() const {
  return row.relaxed || (alive && (!facts.has_vmcore() || facts.confinement() != vmcore::v1::CONFINEMENT_STRICT));
}

v1::GuestState GuestView::state() const {
  if (alive && !unreachable_reason.empty()) return v1::UNREACHABLE;
  if (alive) {
    switch (facts.state()) {
      case vmcore::v1::STATE_RUNNING:
        return v1::RUNNING;
      case vmcore::v1::STATE_PAUSED:
        return v1::PAUSED;
      case vmcore::v1::STATE_STOPPING:
      case vmcore::v1::STATE_EXITED:
        return v1::STOPPING;
      default:
        return v1::STARTING;
    }
  }
  const bool crashed = row.last_exit.has_value() && row.last_exit->kind == v1::GuestExit::CRASHED;
  return crashed ? v1::CRASHED : v1::STOPPED;
}

vmcore::v1::Credentials ToVmcoreCredentials(const Credentials& user) {
  vmcore::v1::Credentials out;
  out.set_uid(user.uid);
  out.set_gid(user.gid);
  out.mutable_groups()->Add(user.groups.begin(), user.groups.end());
  return out;
}

vmcore::v1::Disk ToVmcoreDisk(const state::DiskRow& row) {
  vmcore::v1::Disk disk;
  disk.set_unit(row.unit);
  disk.set_flags(row.flags);
  disk.set_path(row.path);
  disk.set_backing(row.backing);
  disk.set_serial(row.serial);
  if (row.opener.has_value()) *disk.mutable_opener() = ToVmcoreCredentials(*row.opener);
  return disk;
}

std::optional<Credentials> OpenerOf(const GuestView& view, absl::string_view disk_name) {
  auto is_meant = [&](uint32_t unit) {
    return disk_name == absl::StrCat(view.name(), "/disks/", devices::DiskName(unit));
  };
  for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
    if (view.alive && is_meant(live.unit())) return FromVmcoreDisk(live).opener;
  }
  for (const state::DiskRow& disk : view.row.disks) {
    if (is_meant(disk.unit)) return disk.opener;
  }
  return std::nullopt;
}

v1::Disk DiskToProto(const GuestView& view, const state::DiskRow& disk, bool persistent) {
  v1::Disk out;
  out.set_name(absl::StrCat(view.name(), "/disks/", devices::DiskName(disk.unit)));
  out.set_path(disk.path);
  out.set_backing(disk.backing);
  out.set_flags(disk.flags);
  out.set_serial(disk.serial);
  out.set_persistent(persistent);
  out.set_managed(disk.managed);
  out.set_spec(devices::PrintDiskSpec({disk.unit, disk.flags, disk.path, disk.backing, disk.serial}));
  if (view.alive) {
    for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
      if (!SameUnit(disk, live)) continue;
      out.set_plugged(true);
      out.set_size_bytes(live.size_bytes());
    }
  }
  return out;
}

void ToProto(const GuestView& view, const std::string& state_dir, const std::string& run_dir, bool summary,
             v1::Guest* out) {
  out->set_name(view.name());
  out->set_id(view.row.id);
  out->set_kernel(view.row.kernel);
  out->set_memory_bytes(view.row.memory_bytes);
  if (!view.row.image.empty()) out->set_image(absl::StrCat("images/", view.row.image));
  if (!view.row.image_digest.empty()) out->set_image_digest(view.row.image_digest);
  if (!summary) out->mutable_kernel_args()->Add(view.row.kernel_args.begin(), view.row.kernel_args.end());
  if (!view.row.description.empty()) out->set_description(view.row.description);
  if (!view.row.labels.empty()) out->mutable_labels()->insert(view.row.labels.begin(), view.row.labels.end());
  out->mutable_limits()->set_cpu_percent(view.row.cpu_percent);
  out->mutable_limits()->set_memory_bytes(view.row.memory_max);
  out->mutable_limits()->set_processes(view.row.pids_max);
  out->mutable_limits()->set_disk_bytes_per_second(view.row.disk_bps);
  out->mutable_limits()->set_disk_operations_per_second(view.row.disk_iops);
  out->set_confinement(view.row.relaxed ? v1::RELAXED : v1::STRICT);
  out->set_trust(view.row.trusted ? v1::TRUSTED : v1::UNTRUSTED);
  out->set_memory_reclaim(view.row.keeps_memory ? v1::NEVER : v1::WHEN_IDLE);
  out->set_etag(absl::StrCat(view.row.version));
  *out->mutable_create_time() = TimeUtil::NanosecondsToTimestamp(view.row.created_ns);
  out->set_state(view.state());
  out->set_wanted_running(view.row.wanted_running);
  if (view.row.last_exit.has_value() && !view.alive) FillExit(*view.row.last_exit, summary, out->mutable_last_exit());
  if (view.operation != 0) out->set_operation(OperationName(view.operation));
  FillDisks(view, summary, out);
  FillFacts(view, run_dir, summary, out);
  if (summary) return;
  FillConsoles(view, state_dir, out);
  FillNics(view, out);
}

}  // namespace umld
