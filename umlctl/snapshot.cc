#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/clone.h"
#include "umlctl/details.h"
#include "umlctl/interrupt.h"
#include "umlctl/labels.h"
#include "umlctl/operation_wait.h"
#include "umlctl/snapshot_tree.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// "web1" of "guests/web1/snapshots/before".
std::string GuestOf(const std::string& name) { return ShortName(name.substr(0, name.find("/snapshots/"))); }

std::string MillisecondsText(const google::protobuf::Duration& duration) {
  const int64_t ns = duration.seconds() * 1'000'000'000 + duration.nanos();
  return ns == 0 ? "" : absl::StrCat((ns + 999'999) / 1'000'000, " ms");
}

std::string PausedText(const v1::Snapshot& snapshot) { return MillisecondsText(snapshot.paused()); }

const std::vector<Column<v1::Snapshot>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Snapshot>>{
      {"GUEST", [](const v1::Snapshot& snapshot) { return GuestOf(snapshot.name()); }},
      {"NAME", [](const v1::Snapshot& snapshot) { return ShortName(snapshot.name()); }},
      {"CREATED", [](const v1::Snapshot& snapshot) { return TimeText(snapshot.create_time()); }},
      {"DISKS", [](const v1::Snapshot& snapshot) { return std::to_string(snapshot.disks_size()); }},
      {"ON DISK", [](const v1::Snapshot& snapshot) { return HumanByteSize(snapshot.allocated_bytes()); }},
      {"PARENT", [](const v1::Snapshot& snapshot) { return ShortName(snapshot.parent()); }, true},
      {"PAUSED", PausedText, true},
      {"SYNCED", [](const v1::Snapshot& snapshot) { return snapshot.synced() ? "yes" : "no"; }, true},
      {"ROTATES", [](const v1::Snapshot& snapshot) { return snapshot.rotates() ? "yes" : "no"; }, true},
      {"DESCRIPTION", [](const v1::Snapshot& snapshot) { return snapshot.description(); }, true},
  };
  return *kColumns;
}

Details Describe(const v1::Snapshot& snapshot) {
  Details details;
  details.Add("Name", ShortName(snapshot.name()));
  details.Add("Guest", GuestOf(snapshot.name()));
  if (!snapshot.description().empty()) details.Add("Description", snapshot.description());
  details.Add("Created", TimeText(snapshot.create_time()));
  if (!snapshot.operation().empty()) details.Add("Operation", snapshot.operation());
  details.Add("Came from", snapshot.parent().empty() ? "no other snapshot" : ShortName(snapshot.parent()));
  if (snapshot.current()) details.Add("Now", "the guest's disks came from it as last");
  if (snapshot.rotates()) details.Add("Kept", "until enough newer ones have been made with --keep");
  details.Add("Paused", snapshot.has_paused() && !PausedText(snapshot).empty() ? PausedText(snapshot) : "no");
  if (const std::string together = MillisecondsText(snapshot.together()); !together.empty()) {
    details.Add("Together", absl::StrCat("all guests of the operation stood still for ", together));
  }
  details.Add("Synced", snapshot.synced() ? "yes" : "no: as after a power cut");
  for (const v1::SnapshotDisk& disk : snapshot.disks()) {
    details.Add(disk.device(), disk.path());
    if (!disk.backing().empty()) details.AddUnder("Over", disk.backing());
    details.AddUnder("Size", HumanByteSize(disk.size_bytes()));
    details.AddUnder("On disk", HumanByteSize(disk.allocated_bytes()));
  }
  for (const std::string& disk : snapshot.left_out()) details.Add("Left out", disk);
  return details;
}

absl::StatusOr<std::string> SnapshotName(const std::string& guest, const std::string& typed) {
  ASSIGN_OR_RETURN(const std::string full, GuestName(guest));
  return NameIn(full + "/snapshots", typed);
}

struct CreateWords {
  std::string first, second;  // GUEST [NAME], or [NAME] when the guests are said otherwise
  std::vector<std::string> guests;
  bool all = false;
  std::string labels;
  std::string description;
  uint32_t keep = 0;
};

absl::StatusOr<v1::Operation> BeginOne(Client& client, const CreateWords& words) {
  v1::CreateSnapshotRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(words.first));
  if (!words.second.empty()) {
    ASSIGN_OR_RETURN(const std::string full, SnapshotName(words.first, words.second));
    request.set_snapshot_id(ShortName(full));
  }
  request.set_description(words.description);
  request.set_keep(words.keep);
  request.set_request_id(NewRequestId());
  return client.CreateSnapshot(request);
}

absl::StatusOr<v1::Operation> BeginSet(Client& client, const CreateWords& words) {
  v1::CreateSnapshotsRequest request;
  for (const std::string& typed : words.guests) {
    ASSIGN_OR_RETURN(*request.add_guests(), GuestName(typed));
  }
  request.set_all(words.all);
  request.set_label_selector(words.labels);
  if (!words.first.empty()) {
    ASSIGN_OR_RETURN(const std::string full, NameIn("snapshots", words.first));
    request.set_snapshot_id(ShortName(full));
  }
  request.set_description(words.description);
  request.set_keep(words.keep);
  request.set_request_id(NewRequestId());
  return client.CreateSnapshots(request);
}

void SayCreated(Session& session, const v1::Snapshot& snapshot) {
  const std::string name = ShortName(snapshot.name()), guest = GuestOf(snapshot.name());
  if (session.output.format == Format::kName) {
    session.Say(name);
    return;
  }
  const std::string paused = PausedText(snapshot);
  session.Say(absl::StrCat(guest, ": snapshot ", name, paused.empty() ? "" : absl::StrCat(", paused ", paused)));
  if (!snapshot.synced()) {
    session.Note(
        absl::StrCat(guest, ": its kernel did not say that all is written out: the disks are as after a power cut"));
  }
  for (const std::string& disk : snapshot.left_out()) session.Note(absl::StrCat(guest, ": left out: ", disk));
}

absl::Status Create(Session& session, const CreateWords& words) {
  const int rules = (words.guests.empty() ? 0 : 1) + words.all + (words.labels.empty() ? 0 : 1);
  if (rules > 1) return UsageError("more than one of -g, --all and -l was given", "give one of them");
  if (rules == 0 && words.first.empty()) {
    return UsageError("no guest was named", "give GUEST, or -g GUEST for each of several, --all, or labels (-l)");
  }
  if (rules == 1 && !words.second.empty()) {
    return UsageError(absl::StrCat("\"", words.first, "\" and \"", words.second,
                                   "\" were given, and one name is for all of the guests"),
                      "name every guest with -g, and the snapshot with the last word");
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, rules == 0 ? BeginOne(*client, words) : BeginSet(*client, words));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse made, client->ListSnapshots("", operation.name()));
  if (session.output.ForPrograms()) {
    std::vector<const google::protobuf::Message*> messages;
    for (const v1::Snapshot& snapshot : made.snapshots()) messages.push_back(&snapshot);
    if (rules == 1) PrintMessages(messages, session.output.format, session.out());
    if (rules == 0 && !messages.empty()) PrintMessage(*messages[0], session.output.format, session.out());
    return absl::OkStatus();
  }
  int64_t paused = 0;
  for (const v1::Snapshot& snapshot : made.snapshots()) {
    SayCreated(session, snapshot);
    paused += PausedText(snapshot).empty() ? 0 : 1;
  }
  if (paused > 1 && session.output.format != Format::kName) {
    session.Say(
        absl::StrCat(paused, " guests stood still together for ", MillisecondsText(made.snapshots(0).together())));
  }
  return absl::OkStatus();
}

absl::Status List(Session& session, const std::string& typed, bool tree) {
  std::string guest;
  if (!typed.empty()) {
    ASSIGN_OR_RETURN(guest, GuestName(typed));
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse list, client->ListSnapshots(guest));
  if (tree && !session.output.ForPrograms() && session.output.format != Format::kName) {
    PrintSnapshotTree({list.snapshots().begin(), list.snapshots().end()}, session.output.headers, session.out());
  } else {
    PrintList(list.snapshots(), Columns(), session.output, session.out());
  }
  return absl::OkStatus();
}

absl::Status DescribeSnapshots(Session& session, const std::string& guest, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Snapshot> snapshots;
  for (const std::string& text : typed) {
    v1::GetSnapshotRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), SnapshotName(guest, text));
    absl::StatusOr<v1::Snapshot> snapshot = client->GetSnapshot(request);
    session.Report(snapshot.status());
    if (snapshot.ok()) snapshots.push_back(*std::move(snapshot));
  }
  PrintDescriptions<v1::Snapshot>(snapshots, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

absl::Status RestoreTo(Session& session, const std::string& guest, const std::string& typed, CloneWords words) {
  ASSIGN_OR_RETURN(words.source, SnapshotName(guest, typed));
  return CloneGuest(session, words);
}

absl::Status Restore(Session& session, const std::string& guest, const std::string& typed, bool force) {
  v1::RestoreSnapshotRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), SnapshotName(guest, typed));
  request.set_request_id(NewRequestId());
  request.set_force(force);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->RestoreSnapshot(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
  } else {
    session.Say(session.output.format == Format::kName
                    ? ShortName(request.name())
                    : absl::StrCat(GuestOf(request.name()), ": restored from ", ShortName(request.name())));
  }
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const std::string& guest, const std::vector<std::string>& typed, bool all) {
  if (typed.empty() != all) {
    return UsageError(all ? "both names and --all were given" : "no snapshot was named",
                      "give the names of snapshots, or --all");
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<std::string> names;
  if (all) {
    ASSIGN_OR_RETURN(const std::string full, GuestName(guest));
    ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse list, client->ListSnapshots(full));
    for (const v1::Snapshot& snapshot : list.snapshots()) names.push_back(snapshot.name());
  }
  for (const std::string& text : typed) {
    ASSIGN_OR_RETURN(const std::string name, SnapshotName(guest, text));
    names.push_back(name);
  }
  for (const std::string& name : names) {
    v1::DeleteSnapshotRequest request;
    request.set_name(name);
    const absl::Status status = client->DeleteSnapshot(request);
    session.Report(status);
    if (status.ok() && !session.output.ForPrograms()) session.Say(absl::StrCat(ShortName(name), ": deleted"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddSnapshot(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("snapshot", "The disks of a guest as they were")->group(kGuestsGroup);
  noun->require_subcommand(1);
  struct Words {
    std::string guest, name;
    std::vector<std::string> names;
    bool all = false, force = false, tree = false;
    CreateWords create;
  };
  const auto words = std::make_shared<Words>();

  CLI::App* create = noun->add_subcommand(
      "create", "Copy the writable disks of a guest, or of several at one point in time, which may be running");
  create->add_option("GUEST", words->create.first, "a guest; with -g, --all or -l the snapshots' name instead");
  create->add_option("NAME", words->create.second, "what to call it; without it, the time");
  create->add_option("-g,--guest", words->create.guests, "a guest of several, all in one pause; may be repeated")
      ->allow_extra_args(false)
      ->option_text("GUEST");
  create->add_flag("--all", words->create.all, "all guests that have a writable disk");
  AddLabelSelector(*create, words->create.labels);
  create
      ->add_option("--keep", words->create.keep,
                   "remove the oldest ones that were made with --keep, but for the newest N")
      ->check(CLI::Range(1u, 1'000'000u))
      ->option_text("N");
  create->add_option("--description", words->create.description, "a text to remember it by");
  OnVerb(create, session, [=, &session] { return Create(session, words->create); });

  CLI::App* list = noun->add_subcommand("list", "List the snapshots of a guest, or all");
  list->add_option("GUEST", words->guest, "a guest; without it, all");
  list->add_flag("--tree", words->tree, "show which came from which, and what the guest's disks came from");
  OnVerb(list, session, [=, &session] { return List(session, words->guest, words->tree); });

  CLI::App* describe = noun->add_subcommand("describe", "Show all about snapshots of a guest");
  describe->add_option("GUEST", words->guest, "a guest")->required();
  describe->add_option("NAME", words->names, "snapshots of it")->required();
  OnVerb(describe, session, [=, &session] { return DescribeSnapshots(session, words->guest, words->names); });

  CLI::App* restore = noun->add_subcommand("restore", "Give the disks of a stopped guest the content they had");
  restore->add_option("GUEST", words->guest, "a guest")->required();
  restore->add_option("NAME", words->name, "a snapshot of it")->required();
  const auto clone = std::make_shared<CloneWords>();
  CLI::Option* to = restore->add_option("--to", clone->name, "make a new guest of it, and leave this one as it is");
  restore->add_flag("--force", words->force, "kill a guest that runs, and start it again afterwards")->excludes(to);
  AddCloneOptions(*restore, *clone, to);
  OnVerb(restore, session, [=, &session] {
    return clone->name.empty() ? Restore(session, words->guest, words->name, words->force)
                               : RestoreTo(session, words->guest, words->name, *clone);
  });

  CLI::App* remove = noun->add_subcommand("delete", "Remove snapshots of a guest");
  remove->add_option("GUEST", words->guest, "a guest")->required();
  remove->add_option("NAME", words->names, "snapshots of it");
  remove->add_flag("--all", words->all, "all that it has");
  OnVerb(remove, session, [=, &session] { return Delete(session, words->guest, words->names, words->all); });
}

}  // namespace umld::umlctl
