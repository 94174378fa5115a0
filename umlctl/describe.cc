#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/each_guest.h"
#include "umlctl/kernel_word.h"
#include "umlctl/labels.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

std::string StateLine(const v1::Guest& guest) {
  std::string text = StateText(guest.state());
  if (guest.has_start_time()) absl::StrAppend(&text, " for ", AgeText(guest.start_time()));
  if (guest.boots() > 1) absl::StrAppend(&text, ", ", guest.boots(), " boots");
  if (!guest.unreachable_reason().empty()) absl::StrAppend(&text, ": ", guest.unreachable_reason());
  if (!guest.pause_reason().empty()) absl::StrAppend(&text, ": ", guest.pause_reason());
  return text;
}

std::string MemoryLine(const v1::Guest& guest) {
  std::string text = HumanByteSize(guest.memory_bytes());
  if (guest.lent_memory_bytes() != 0) {
    absl::StrAppend(&text, ", ", HumanByteSize(guest.lent_memory_bytes()), " of it lent to the host");
  }
  if (guest.host_memory_bytes() != 0) {
    absl::StrAppend(&text, "; takes ", HumanByteSize(guest.host_memory_bytes()), " on the host");
  }
  return text;
}

std::string ReclaimLine(const v1::Guest& guest) {
  std::string text = guest.memory_reclaim() == v1::NEVER ? "never" : "when idle";
  if (!guest.has_reclaimed_memory()) return text;
  const v1::ReclaimedMemory& last = guest.reclaimed_memory();
  return absl::StrCat(text, "; last ", HumanByteSize(last.bytes()), " at ", TimeText(last.time()), ", ",
                      HumanByteSize(last.total_bytes()), " in ", last.count(), last.count() == 1 ? " time" : " times");
}

std::string DiskLine(const v1::Disk& disk) {
  std::vector<std::string> notes;
  if (!disk.plugged()) notes.push_back("from the next boot");
  if (!disk.persistent()) notes.push_back("until the next boot");
  if (disk.managed()) notes.push_back("made by umld");
  if (!disk.serial().empty()) notes.push_back(absl::StrCat("serial ", disk.serial()));
  return absl::StrCat(disk.spec(), notes.empty() ? "" : absl::StrCat("  (", absl::StrJoin(notes, ", "), ")"));
}

std::string PartitionLine(const v1::Partition& partition) {
  std::string text =
      absl::StrCat(HumanByteSize(partition.size_bytes()), " from ", HumanByteSize(partition.start_bytes()), " on, ",
                   partition.type().empty() ? absl::StrCat("type ", partition.type_id()) : partition.type());
  if (!partition.label().empty()) absl::StrAppend(&text, ", \"", partition.label(), "\"");
  return text;
}

void AddDiskDetails(const v1::Guest& guest, const v1::Disk& disk, Details& details) {
  const std::string name = ShortName(disk.name());
  if (!disk.problem().empty()) return details.AddUnder(name, absl::StrCat("PROBLEM: ", disk.problem()));
  if (disk.size_bytes() == 0) return;
  std::string text = absl::StrCat(HumanByteSize(disk.size_bytes()), " (", disk.size_bytes(), " bytes)");
  if (!disk.partition_table().empty()) absl::StrAppend(&text, ", partition table ", disk.partition_table());
  details.AddUnder(name, text);
  if (disk.padding_bytes() != 0) {
    details.AddMore(absl::StrCat("the file has ", disk.file_bytes(), " bytes; a disk has whole sectors of 512, so ",
                                 disk.padding_bytes(), " zeros follow it"));
  }
  // Less than the padding is no growth.
  if (disk.plugged() && disk.file_bytes() + disk.padding_bytes() > disk.size_bytes()) {
    details.AddMore(absl::StrCat("the file has grown to ", FormatByteSize(disk.file_bytes()), ": umlctl disk resize ",
                                 ShortName(guest.name()), " ", name, " ", FormatByteSize(disk.file_bytes())));
  }
  if (!disk.risk().empty()) details.AddMore(disk.risk());
  for (const v1::Partition& partition : disk.partitions()) {
    details.AddUnder(partition.name(), PartitionLine(partition));
  }
}

std::string ConsoleLine(const v1::Console& console) {
  std::string text = console.reported().empty() ? console.channels() : console.reported();
  if (!console.role().empty()) absl::StrAppend(&text, ", ", console.role());
  if (console.plugged() && !console.persistent()) absl::StrAppend(&text, ", until the next boot");
  if (console.channels() == "none" || console.channels() == "null") return text;
  if (!console.host_tty().empty()) absl::StrAppend(&text, ", ", console.host_tty());
  absl::StrAppend(&text, ", ", console.viewers(), console.viewers() == 1 ? " viewer, " : " viewers, ",
                  HumanByteSize(console.bytes_out()), " written");
  if (!console.log_path().empty()) absl::StrAppend(&text, ", log ", console.log_path());
  return text;
}

std::string NicLine(const v1::Nic& nic) {
  std::vector<std::string> notes;
  if (!nic.plugged()) notes.push_back("from the next boot");
  if (!nic.persistent()) notes.push_back("until the next boot");
  if (nic.interface_made()) notes.push_back(absl::StrCat(nic.interface(), " made by umld"));
  if (nic.has_counters()) {
    const v1::NicCounters& counters = nic.counters();
    notes.push_back(
        absl::StrCat("received ", counters.received_packets(), " packets, ", HumanByteSize(counters.received_bytes())));
    notes.push_back(absl::StrCat("sent ", counters.sent_packets(), " packets, ", HumanByteSize(counters.sent_bytes())));
  }
  return absl::StrCat(nic.spec(), notes.empty() ? "" : absl::StrCat("  (", absl::StrJoin(notes, ", "), ")"));
}

void AddLastExit(const v1::GuestExit& end, Details& details) {
  std::string text = v1::GuestExit_Kind_Name(end.kind());
  if (end.has_time()) absl::StrAppend(&text, " at ", TimeText(end.time()));
  if (!end.stop_stage().empty()) absl::StrAppend(&text, ", by ", end.stop_stage());
  if (end.signal() != 0) absl::StrAppend(&text, ", signal ", end.signal());
  if (end.signal() == 0 && end.exit_code() != 0) absl::StrAppend(&text, ", exit code ", end.exit_code());
  details.Add("Last exit", text);
  if (!end.reason().empty()) details.AddUnder("reason", end.reason());
  for (const std::string& line : end.last_lines()) details.AddText(line);
}

Details Describe(const v1::Guest& guest) {
  Details details;
  details.Add("Name", ShortName(guest.name()));
  details.Add("State", StateLine(guest));
  if (!guest.description().empty()) details.Add("Description", guest.description());
  if (!guest.labels().empty()) details.Add("Labels", LabelsText(guest));
  if (!guest.operation().empty()) details.Add("Under way", guest.operation());
  details.Add("Memory", MemoryLine(guest));
  details.AddUnder("reclaim", ReclaimLine(guest));
  details.Add("Kernel", KernelText(guest));
  if (guest.kernel_path() != guest.kernel()) details.AddUnder("file", guest.kernel_path());
  if (!guest.kernel_version().empty()) details.AddUnder("says", guest.kernel_version());
  if (guest.kernel_args_size() > 0) details.Add("Arguments", absl::StrJoin(guest.kernel_args(), " "));
  if (!guest.image().empty()) details.Add("Image", ShortName(guest.image()));
  details.Add("Created", TimeText(guest.create_time()));
  if (guest.has_start_time()) {
    details.Add("Started", absl::StrCat(TimeText(guest.start_time()), guest.start_kind() == v1::WARM ? " (warm)" : ""));
  }
  details.Add("Starts with umld", guest.wanted_running() ? "yes" : "no");
  if (!guest.isolation().empty()) details.Add("Isolation", guest.isolation());
  details.Add("Trust", guest.trust() == v1::TRUSTED ? "trusted" : "untrusted");
  details.Add("Confinement", guest.confinement() == v1::RELAXED ? "relaxed" : "strict");
  for (const v1::ConfinementPoint& point : guest.confinement_points()) {
    details.AddUnder(point.name(), absl::StrCat(point.in_force() ? "" : "not in force: ", point.detail()));
  }
  if (const v1::Limits& limits = guest.limits(); limits.ByteSizeLong() > 0) {
    std::vector<std::string> words;
    if (limits.cpu_percent() != 0) words.push_back(absl::StrCat("cpu ", limits.cpu_percent(), "%"));
    if (limits.memory_bytes() != 0) words.push_back(absl::StrCat("memory ", HumanByteSize(limits.memory_bytes())));
    if (limits.processes() != 0) words.push_back(absl::StrCat("pids ", limits.processes()));
    if (const uint64_t bytes = limits.disk_bytes_per_second(); bytes != 0) {
      words.push_back(absl::StrCat("disk ", HumanByteSize(bytes), "/s"));
    }
    if (const uint32_t operations = limits.disk_operations_per_second(); operations != 0) {
      words.push_back(absl::StrCat("disk ", operations, " operations/s"));
    }
    details.Add("Limits", absl::StrJoin(words, ", "));
  }
  if (guest.has_processes()) {
    const v1::GuestProcesses& processes = guest.processes();
    details.Add("Processes", absl::StrCat("supervisor ", processes.supervisor_pid(), ", init ", processes.init_pid(),
                                          ", kernel ", processes.kernel_pid()));
    details.AddUnder("folder", processes.runtime_directory());
  }
  if (guest.disks().empty()) details.Add("Disks", "none");
  for (int i = 0; i < guest.disks_size(); ++i) {
    i == 0 ? details.Add("Disks", DiskLine(guest.disks(i))) : details.AddMore(DiskLine(guest.disks(i)));
    AddDiskDetails(guest, guest.disks(i), details);
  }
  for (int i = 0; i < guest.nics_size(); ++i) {
    i == 0 ? details.Add("Interfaces", NicLine(guest.nics(i))) : details.AddMore(NicLine(guest.nics(i)));
  }
  if (guest.consoles_size() > 0) details.Add("Consoles", "");
  for (const v1::Console& console : guest.consoles()) {
    details.AddUnder(ShortName(console.name()), ConsoleLine(console));
  }
  if (guest.has_last_exit()) AddLastExit(guest.last_exit(), details);
  details.Add("Id, etag", absl::StrCat(guest.id(), ", ", guest.etag()));
  return details;
}

absl::Status Run(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Guest> guests;
  for (const std::string& text : typed) {
    ASSIGN_OR_RETURN(const std::string name, GuestName(text));
    absl::StatusOr<v1::Guest> guest = client->GetGuest(name);
    if (guest.ok()) {
      guests.push_back(*std::move(guest));
    } else {
      session.Report(NamingGuest(guest.status(), name));
    }
  }
  PrintDescriptions<v1::Guest>(guests, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

}  // namespace

void AddDescribe(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("describe", "Say all about guests")->group(kGuestsGroup);
  auto names = std::make_shared<std::vector<std::string>>();
  verb->add_option("NAME", *names, "guests")->required();
  OnVerb(verb, session, [&session, names] { return Run(session, *names); });
}

}  // namespace umld::umlctl
