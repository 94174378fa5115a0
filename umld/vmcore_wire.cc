#include "umld/vmcore_wire.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/nic/nic_spec.h"
#include "umld/nic_row.h"
#include "umld/v1/resources.pb.h"

namespace umld {
namespace {

using vmcore::v1::Facts;

// Versions are counted up by one, and go into a signed column of the database.
constexpr uint64_t kMaxVersion = uint64_t{1} << 62;

devices::DiskSpec ToSpec(const vmcore::v1::Disk& disk) {
  return {disk.unit(), disk.flags(), disk.path(), disk.backing(), disk.serial()};
}

template <typename Field, typename Keep>
void KeepOnly(Field* field, const Keep& keep) {
  auto gone = std::remove_if(field->begin(), field->end(), [&](const auto& entry) { return !keep(entry); });
  field->erase(gone, field->end());
}

void Clean(Facts* facts) {
  std::set<uint32_t> units;
  KeepOnly(facts->mutable_live_disks(), [&units](const vmcore::v1::Disk& disk) {
    return devices::CheckDiskSpec(ToSpec(disk)).ok() && units.insert(disk.unit()).second;
  });
  KeepOnly(facts->mutable_live_nics(),
           [](const vmcore::v1::Nic& nic) { return devices::ParseNicSpec(nic.spec()).ok(); });
  KeepOnly(facts->mutable_consoles(),
           [](const vmcore::v1::ConsoleFacts& console) { return devices::ParseConsoleName(console.name()).ok(); });
}

template <typename Message>
absl::StatusOr<Message> Parse(absl::string_view bytes, absl::string_view what) {
  Message message;
  if (bytes.size() <= std::numeric_limits<int>::max() &&
      message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return message;
  }
  return absl::DataLossError(absl::StrCat(what, " of a vmcore cannot be read"));
}

v1::GuestExit::Kind ExitKind(vmcore::v1::Exit::Kind kind) {
  switch (kind) {
    case vmcore::v1::Exit::POWERED_OFF:
      return v1::GuestExit::POWERED_OFF;
    case vmcore::v1::Exit::STOPPED:
      return v1::GuestExit::STOPPED;
    case vmcore::v1::Exit::KILLED:
      return v1::GuestExit::KILLED;
    default:
      return v1::GuestExit::CRASHED;
  }
}

absl::Status Unusable(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("its supervisor has a configuration that cannot be: ", what),
                   {"SUPERVISOR_CONFIG", "", "restart the guest"});
}

absl::Status TakeDisks(const vmcore::v1::GuestConfig& config, state::GuestRow* row) {
  std::vector<state::DiskRow> disks;
  std::set<uint32_t> units;
  for (const vmcore::v1::Disk& disk : config.disks()) {
    RETURN_IF_ERROR(devices::CheckDiskSpec(ToSpec(disk)));
    if (!units.insert(disk.unit()).second) return Unusable("two disks on one unit");
    state::DiskRow taken = FromVmcoreDisk(disk);
    for (const state::DiskRow& known : row->disks) {
      if (known.unit != taken.unit || known.path != taken.path) continue;
      taken.managed = known.managed;
      taken.opener = known.opener;
    }
    disks.push_back(std::move(taken));
  }
  row->disks = std::move(disks);
  return absl::OkStatus();
}

absl::Status TakeConsoles(const vmcore::v1::GuestConfig& config, state::GuestRow* row) {
  row->consoles.clear();
  std::set<std::string> devices;
  for (const vmcore::v1::ConsoleConfig& console : config.consoles()) {
    RETURN_IF_ERROR(devices::ParseConsoleAssignment(absl::StrCat(console.device(), "=", console.channels())).status());
    if (!devices.insert(console.device()).second) return Unusable("a console that is given twice");
    row->consoles.push_back({console.device(), console.channels()});
  }
  return absl::OkStatus();
}

absl::Status TakeNics(const vmcore::v1::GuestConfig& config, state::GuestRow* row) {
  row->nics.clear();
  for (const vmcore::v1::Nic& nic : config.nics()) {
    ASSIGN_OR_RETURN(const devices::NicSpec spec, devices::ParseNicSpec(nic.spec()));
    const state::NicRow taken = ToNicRow(spec);
    if (FindNicRow(row->nics, taken.device) != nullptr) return Unusable("an interface that is given twice");
    AddNicRow(&row->nics, taken);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<vmcore::v1::Frame> DecodeVmcoreFrame(absl::string_view packet) {
  ASSIGN_OR_RETURN(vmcore::v1::Frame frame, Parse<vmcore::v1::Frame>(packet, "a packet"));
  if (frame.has_reply() && frame.reply().has_facts()) Clean(frame.mutable_reply()->mutable_facts());
  if (frame.has_event() && frame.event().has_facts()) Clean(frame.mutable_event()->mutable_facts());
  if (frame.has_event() && frame.event().has_rebooted()) {
    Clean(frame.mutable_event()->mutable_rebooted()->mutable_facts());
  }
  return frame;
}

absl::StatusOr<Facts> DecodeVmcoreFacts(absl::string_view bytes) {
  ASSIGN_OR_RETURN(Facts facts, Parse<Facts>(bytes, "the status record"));
  Clean(&facts);
  return facts;
}

absl::StatusOr<vmcore::v1::Exit> DecodeVmcoreExit(absl::string_view bytes) {
  return Parse<vmcore::v1::Exit>(bytes, "the exit record");
}

absl::StatusOr<vmcore::v1::Reply> FromReply(const vmcore::v1::Reply& reply) {
  if (!reply.has_error()) return reply;
  const vmcore::v1::Error& error = reply.error();
  const bool known = error.code() > 0 && error.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  return MakeError(known ? static_cast<absl::StatusCode>(error.code()) : absl::StatusCode::kUnknown, error.message(),
                   {error.reason(), error.subject(), error.hint()});
}

state::ExitRow ToRow(const vmcore::v1::Exit& exit) {
  state::ExitRow row;
  row.kind = ExitKind(exit.kind());
  row.reason = exit.reason();
  row.exit_code = exit.exit_code();
  row.signal = exit.signal();
  row.last_lines = absl::StrJoin(exit.last_lines(), "\n");
  row.stop_stage = exit.stop_stage();
  row.time_ns = exit.ended_unix_ns();
  return row;
}

state::DiskRow FromVmcoreDisk(const vmcore::v1::Disk& disk) {
  state::DiskRow row;
  row.unit = disk.unit();
  row.flags = disk.flags();
  row.path = disk.path();
  row.backing = disk.backing();
  row.serial = disk.serial();
  if (disk.has_opener()) {
    const vmcore::v1::Credentials& opener = disk.opener();
    row.opener = {opener.uid(), opener.gid(), {opener.groups().begin(), opener.groups().end()}};
  }
  return row;
}

absl::Status TakeDevices(const vmcore::v1::GuestConfig& config, state::GuestRow* row) {
  if (config.etag() > kMaxVersion) return Unusable("its version");
  state::GuestRow taken = *row;
  RETURN_IF_ERROR(TakeDisks(config, &taken));
  RETURN_IF_ERROR(TakeConsoles(config, &taken));
  RETURN_IF_ERROR(TakeNics(config, &taken));
  taken.version = config.etag();
  *row = std::move(taken);
  return absl::OkStatus();
}

}  // namespace umld
