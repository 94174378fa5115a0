#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/clone.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// "web1" of "guests/web1/snapshots/before".
std::string GuestOf(const std::string& name) { return ShortName(name.substr(0, name.find("/snapshots/"))); }

std::string PausedText(const v1::Snapshot& snapshot) {
  const int64_t ns = snapshot.paused().seconds() * 1'000'000'000 + snapshot.paused().nanos();
  return ns == 0 ? "" : absl::StrCat((ns + 999'999) / 1'000'000, " ms");
}

const std::vector<Column<v1::Snapshot>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Snapshot>>{
      {"GUEST", [](const v1::Snapshot& snapshot) { return GuestOf(snapshot.name()); }},
      {"NAME", [](const v1::Snapshot& snapshot) { return ShortName(snapshot.name()); }},
      {"CREATED", [](const v1::Snapshot& snapshot) { return TimeText(snapshot.create_time()); }},
      {"DISKS", [](const v1::Snapshot& snapshot) { return std::to_string(snapshot.disks_size()); }},
      {"ON DISK", [](const v1::Snapshot& snapshot) { return HumanByteSize(snapshot.allocated_bytes()); }},
      {"PAUSED", PausedText, true},
      {"SYNCED", [](const v1::Snapshot& snapshot) { return snapshot.synced() ? "yes" : "no"; }, true},
      {"DESCRIPTION", [](const v1::Snapshot& snapshot) { return snapshot.description(); }, true},
  };
  return *kColumns;
}

absl::StatusOr<std::string> SnapshotName(const std::string& guest, const std::string& typed) {
  ASSIGN_OR_RETURN(const std::string full, GuestName(guest));
  return NameIn(full + "/snapshots", typed);
}

absl::Status Create(Session& session, const std::string& guest, const std::string& typed,
                    const std::string& description) {
  v1::CreateSnapshotRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(guest));
  if (!typed.empty()) {
    ASSIGN_OR_RETURN(const std::string full, SnapshotName(guest, typed));
    request.set_snapshot_id(ShortName(full));
  }
  request.set_description(description);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->CreateSnapshot(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  v1::GetSnapshotRequest get;
  get.set_name(operation.target());
  ASSIGN_OR_RETURN(const v1::Snapshot snapshot, client->GetSnapshot(get));
  if (session.output.ForPrograms()) {
    PrintMessage(snapshot, session.output.format, session.out());
    return absl::OkStatus();
  }
  const std::string name = ShortName(snapshot.name());
  if (session.output.format == Format::kName) {
    session.Say(name);
    return absl::OkStatus();
  }
  const std::string paused = PausedText(snapshot);
  session.Say(absl::StrCat(GuestOf(snapshot.name()), ": snapshot ", name,
                           paused.empty() ? "" : absl::StrCat(", paused ", paused)));
  if (!snapshot.synced()) {
    session.Note("its kernel did not say that all is written out: the disks are as after a power cut");
  }
  return absl::OkStatus();
}

absl::Status List(Session& session, const std::string& typed) {
  std::string guest;
  if (!typed.empty()) {
    ASSIGN_OR_RETURN(guest, GuestName(typed));
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse list, client->ListSnapshots(guest));
  PrintList(list.snapshots(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

absl::Status RestoreTo(Session& session, const std::string& guest, const std::string& typed, CloneWords words) {
  ASSIGN_OR_RETURN(words.source, SnapshotName(guest, typed));
  return CloneGuest(session, words);
}

absl::Status Restore(Session& session, const std::string& guest, const std::string& typed) {
  v1::RestoreSnapshotRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), SnapshotName(guest, typed));
  request.set_request_id(NewRequestId());
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
    std::string guest, name, description;
    std::vector<std::string> names;
    bool all = false;
  };
  const auto words = std::make_shared<Words>();

  CLI::App* create = noun->add_subcommand("create", "Copy the writable disks of a guest, which may be running");
  create->add_option("GUEST", words->guest, "a guest")->required();
  create->add_option("NAME", words->name, "what to call it; without it, the time");
  create->add_option("--description", words->description, "a text to remember it by");
  OnVerb(create, session, [=, &session] { return Create(session, words->guest, words->name, words->description); });

  CLI::App* list = noun->add_subcommand("list", "List the snapshots of a guest, or all");
  list->add_option("GUEST", words->guest, "a guest; without it, all");
  OnVerb(list, session, [=, &session] { return List(session, words->guest); });

  CLI::App* restore = noun->add_subcommand("restore", "Give the disks of a stopped guest the content they had");
  restore->add_option("GUEST", words->guest, "a guest")->required();
  restore->add_option("NAME", words->name, "a snapshot of it")->required();
  const auto clone = std::make_shared<CloneWords>();
  CLI::Option* to = restore->add_option("--to", clone->name, "make a new guest of it, and leave this one as it is");
  AddCloneOptions(*restore, *clone, to);
  OnVerb(restore, session, [=, &session] {
    return clone->name.empty() ? Restore(session, words->guest, words->name)
                               : RestoreTo(session, words->guest, words->name, *clone);
  });

  CLI::App* remove = noun->add_subcommand("delete", "Remove snapshots of a guest");
  remove->add_option("GUEST", words->guest, "a guest")->required();
  remove->add_option("NAME", words->names, "snapshots of it");
  remove->add_flag("--all", words->all, "all that it has");
  OnVerb(remove, session, [=, &session] { return Delete(session, words->guest, words->names, words->all); });
}

}  // namespace umld::umlctl
