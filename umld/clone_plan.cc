#include "umld/clone_plan.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/nic/nic_spec.h"

namespace umld {
namespace {

using devices::ConsoleChannel;
using devices::NicSpec;
using devices::NicTransport;

bool IsReadOnly(const state::DiskRow& disk) { return absl::StrContains(disk.flags, 'r'); }

// Names that somebody gave the guest by hand become the clone's.
void PlanArguments(const state::GuestRow& source, const std::string& new_name, ClonePlan* plan) {
  plan->root = 0;
  for (const std::string& argument : source.kernel_args) {
    absl::string_view value = argument;
    if (absl::ConsumePrefix(&value, "root=")) {
      plan->root.reset();
      if (absl::ConsumePrefix(&value, "/dev/")) {
        // Behind the unit there may be a partition: the appliance tries them all.
        const absl::StatusOr<uint32_t> unit = devices::ParseDiskName(value.substr(0, 4));
        if (unit.ok()) plan->root = *unit;
      }
    }
    value = argument;
    if (absl::ConsumePrefix(&value, "rootflags=")) plan->root_flags = std::string(value);
    if (absl::StartsWith(argument, "systemd.machine_id=")) {
      plan->notes.push_back(absl::StrCat("the kernel argument ", argument, " is left out: it is ", source.name, "'s"));
      continue;
    }
    const bool names = argument == "hostname=" + source.name || argument == "systemd.hostname=" + source.name;
    plan->request.mutable_guest()->add_kernel_args(
        names ? absl::StrCat(argument.substr(0, argument.find('=') + 1), new_name) : argument);
  }
}

// A port or a terminal of the host is one guest's alone.
bool IsExclusive(const ConsoleChannel& channel) {
  return channel.kind == ConsoleChannel::Kind::kPort || channel.kind == ConsoleChannel::Kind::kTty;
}

void PlanConsoles(const state::GuestRow& source, ClonePlan* plan) {
  for (const state::ConsoleRow& console : source.consoles) {
    ConsoleChannel in, out;
    if (devices::ParseConsoleChannels(console.channel, &in, &out).ok() && (IsExclusive(in) || IsExclusive(out))) {
      plan->notes.push_back(absl::StrCat(console.device, ": ", console.channel, " stays with ", source.name,
                                         "; give it another with `umlctl plug`"));
      continue;
    }
    plan->request.add_console_specs(absl::StrCat(console.device, "=", console.channel));
  }
}

void PlanNics(const state::GuestRow& source, ClonePlan* plan) {
  for (const state::NicRow& nic : source.nics) {
    absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(nic.spec);
    if (!spec.ok()) continue;
    // Both ends of these have addresses and ports that the other end knows.
    if (spec->transport == NicTransport::kUcast || spec->transport == NicTransport::kGre ||
        spec->transport == NicTransport::kL2tpv3) {
      plan->notes.push_back(absl::StrCat(nic.device, ": left out, as a connection of two (",
                                         devices::NicTransportName(spec->transport),
                                         ") has no place for a third; give it one of its own with `umlctl plug`"));
      continue;
    }
    spec->mac.clear();
    if (devices::UsesTap(spec->transport)) spec->interface.clear();
    if (!spec->host_address.empty()) {
      plan->notes.push_back(absl::StrCat(nic.device, ": ", spec->host_address, " stays the host's end of ", source.name,
                                         "'s; this one has no address yet"));
      spec->host_address.clear();
    }
    if (spec->transport == NicTransport::kVde && spec->options.erase("port") > 0) {
      plan->notes.push_back(absl::StrCat(nic.device, ": any free port of the switch"));
    }
    plan->request.add_nic_specs(devices::PrintNicSpec(*spec));
  }
}

ClonedDisk Copied(const state::GuestRow& source, const state::DiskRow& disk, const std::string& new_name,
                  const VolumeCatalog& volumes, std::vector<std::string>* notes) {
  ClonedDisk cloned{.row = disk, .copied = true};
  // Two files with two openers cannot be one disk: the copy is umld's, and the backing file the user's.
  cloned.merged = !disk.backing.empty() && disk.opener.has_value();
  if (disk.managed) return cloned;
  const std::string device = devices::DiskName(disk.unit);
  if (!volumes.NameOf(disk.path).empty()) {
    notes->push_back(absl::StrCat(device, ": a copy of ", volumes.Show(disk.path), ", which stays ", source.name,
                                  "'s; the copy is no volume, and goes with ", new_name));
  } else {
    notes->push_back(absl::StrCat(device, ": a copy of ", disk.path, cloned.merged ? " and what is under it" : "",
                                  " in umld's own folder, which goes with ", new_name));
  }
  return cloned;
}

const state::DiskRow* FindDisk(const state::GuestRow& row, const state::SnapshotDiskRow& wanted) {
  for (const state::DiskRow& disk : row.disks) {
    if (disk.unit == wanted.unit && disk.path == wanted.path && disk.backing == wanted.backing) return &disk;
  }
  return nullptr;
}

void PlanDisks(const state::GuestRow& source, const state::SnapshotRow* snapshot, const std::string& new_name,
               const VolumeCatalog& volumes, ClonePlan* plan) {
  if (snapshot != nullptr) {
    for (const state::SnapshotDiskRow& wanted : snapshot->disks) {
      const state::DiskRow* now = FindDisk(source, wanted);
      state::DiskRow disk;
      disk.unit = wanted.unit;
      disk.path = wanted.path;
      disk.backing = wanted.backing;
      plan->disks.push_back(Copied(source, now == nullptr ? disk : *now, new_name, volumes, &plan->notes));
      // Whoever could open the backing file then is not known any more: the caller has to.
      if (now == nullptr && !wanted.backing.empty()) plan->disks.back().merged = true;
    }
  }
  for (const state::DiskRow& disk : source.disks) {
    const auto taken = std::find_if(plan->disks.begin(), plan->disks.end(),
                                    [&](const ClonedDisk& other) { return other.row.unit == disk.unit; });
    if (taken != plan->disks.end()) continue;
    if (IsReadOnly(disk)) {
      plan->disks.push_back({.row = disk});
    } else if (snapshot == nullptr) {
      plan->disks.push_back(Copied(source, disk, new_name, volumes, &plan->notes));
    } else {
      plan->notes.push_back(absl::StrCat(devices::DiskName(disk.unit), ": left out, as the snapshot does not have it"));
    }
  }
  std::sort(plan->disks.begin(), plan->disks.end(),
            [](const ClonedDisk& a, const ClonedDisk& b) { return a.row.unit < b.row.unit; });
}

}  // namespace

ClonePlan PlanClone(const state::GuestRow& source, const state::SnapshotRow* snapshot, const std::string& new_name,
                    const VolumeCatalog& volumes) {
  ClonePlan plan;
  v1::Guest& guest = *plan.request.mutable_guest();
  guest.set_name("guests/" + new_name);
  guest.set_memory_bytes(source.memory_bytes);
  guest.set_kernel(source.kernel);
  guest.set_description(source.description);
  guest.mutable_labels()->insert(source.labels.begin(), source.labels.end());
  guest.set_trust(source.trusted ? v1::TRUSTED : v1::UNTRUSTED);
  guest.set_confinement(source.relaxed ? v1::RELAXED : v1::STRICT);
  guest.set_memory_reclaim(source.keeps_memory ? v1::NEVER : v1::WHEN_IDLE);
  v1::Limits& limits = *guest.mutable_limits();
  limits.set_cpu_percent(source.cpu_percent);
  limits.set_memory_bytes(source.memory_max);
  limits.set_processes(source.pids_max);
  limits.set_disk_bytes_per_second(source.disk_bps);
  limits.set_disk_operations_per_second(source.disk_iops);
  PlanArguments(source, new_name, &plan);
  PlanConsoles(source, &plan);
  PlanNics(source, &plan);
  PlanDisks(source, snapshot, new_name, volumes, &plan);
  return plan;
}

std::vector<std::string> TapNotes(const state::GuestRow& source, const state::GuestRow& clone) {
  std::vector<std::string> notes;
  for (const state::NicRow& nic : clone.nics) {
    const absl::StatusOr<NicSpec> spec = devices::ParseNicSpec(nic.spec);
    if (!spec.ok() || !devices::UsesTap(spec->transport)) continue;
    for (const state::NicRow& other : source.nics) {
      const absl::StatusOr<NicSpec> theirs = devices::ParseNicSpec(other.spec);
      if (other.device != nic.device || !theirs.ok()) continue;
      notes.push_back(absl::StrCat(nic.device, ": its tap is ", spec->interface, " (", source.name, "'s is ",
                                   theirs->interface, ")"));
    }
  }
  return notes;
}

}  // namespace umld
