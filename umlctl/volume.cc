#include <CLI/App.hpp>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/sparse_output.h"
#include "umlctl/spec_path.h"
#include "umlctl/transfer_pace.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

std::string FormatText(const v1::Volume& volume) {
  if (!volume.problem().empty()) return "PROBLEM";
  if (volume.format() == v1::VOLUME_EXT4) return "ext4";
  return volume.format() == v1::VOLUME_SWAP ? "swap" : "";
}

const std::vector<Column<v1::Volume>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Volume>>{
      {"NAME", [](const v1::Volume& volume) { return ShortName(volume.name()); }},
      {"SIZE", [](const v1::Volume& volume) { return HumanByteSize(volume.size_bytes()); }},
      {"ON DISK", [](const v1::Volume& volume) { return HumanByteSize(volume.allocated_bytes()); }},
      {"FORMAT", FormatText},
      {"GUESTS", [](const v1::Volume& volume) { return absl::StrJoin(volume.guests(), ","); }},
      {"CREATED", [](const v1::Volume& volume) { return TimeText(volume.create_time()); }},
      {"PATH", [](const v1::Volume& volume) { return volume.path(); }, true},
      {"DESCRIPTION", [](const v1::Volume& volume) { return volume.description(); }, true},
  };
  return *kColumns;
}

Details Describe(const v1::Volume& volume) {
  Details details;
  details.Add("Name", ShortName(volume.name()));
  if (!volume.description().empty()) details.Add("Description", volume.description());
  details.Add("Path", volume.path());
  if (!volume.problem().empty()) details.Add("PROBLEM", volume.problem());
  details.Add("Size", absl::StrCat(HumanByteSize(volume.size_bytes()), " (", volume.size_bytes(), " bytes)"));
  details.Add("On disk", HumanByteSize(volume.allocated_bytes()));
  if (volume.format() != v1::VOLUME_FORMAT_UNSPECIFIED) details.Add("Format", FormatText(volume));
  details.Add("Created", TimeText(volume.create_time()));
  if (volume.guests_size() > 0) details.Add("Guests", absl::StrJoin(volume.guests(), ", "));
  return details;
}

// More may be promised than the disk has; nothing is wrong with that yet.
void Warn(Session& session, const v1::VolumeSpace& space) {
  if (!space.warning().empty()) session.Note(absl::StrCat("warning: ", space.warning()));
}

// Waits for the end of what was begun, and says it.
absl::Status Complete(Session& session, Client& client, absl::StatusOr<v1::Operation> operation,
                      const std::string& done) {
  if (operation.ok()) operation = WaitForOperation(session, client, *std::move(operation));
  RETURN_IF_ERROR(operation.status());
  if (session.output.ForPrograms()) {
    PrintMessage(*operation, session.output.format, session.out());
  } else {
    const std::string name = ShortName(operation->target());
    session.Say(session.output.format == Format::kName ? name : absl::StrCat(name, ": ", done));
  }
  return absl::OkStatus();
}

absl::Status WarnOfSpace(Session& session, Client& client) {
  ASSIGN_OR_RETURN(const v1::ListVolumesResponse list, client.ListVolumes());
  Warn(session, list.space());
  return absl::OkStatus();
}

struct CreateWords {
  std::string name, size, format, description;
};

absl::Status Create(Session& session, const CreateWords& words) {
  v1::CreateVolumeRequest request;
  ASSIGN_OR_RETURN(const std::string full, NameIn("volumes", words.name));
  request.set_volume_id(ShortName(full));
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.size));
  request.set_size_bytes(bytes);
  if (words.format == "ext4") request.set_format(v1::VOLUME_EXT4);
  if (words.format == "swap") request.set_format(v1::VOLUME_SWAP);
  request.set_description(words.description);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  RETURN_IF_ERROR(Complete(session, *client, client->CreateVolume(request), "created"));
  return WarnOfSpace(session, *client);
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListVolumesResponse list, client->ListVolumes());
  PrintList(list.volumes(), Columns(), session.output, session.out());
  Warn(session, list.space());
  return absl::OkStatus();
}

absl::Status DescribeVolumes(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Volume> volumes;
  for (const std::string& text : typed) {
    v1::GetVolumeRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("volumes", text));
    absl::StatusOr<v1::Volume> volume = client->GetVolume(request);
    session.Report(volume.status());
    if (volume.ok()) volumes.push_back(*std::move(volume));
  }
  PrintDescriptions<v1::Volume>(volumes, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& text : typed) {
    v1::DeleteVolumeRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("volumes", text));
    const absl::Status status = client->DeleteVolume(request);
    session.Report(status);
    if (status.ok() && !session.output.ForPrograms()) session.Say(absl::StrCat(ShortName(text), ": deleted"));
  }
  return absl::OkStatus();
}

absl::Status Resize(Session& session, const std::string& typed, const std::string& size) {
  v1::ResizeVolumeRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("volumes", typed));
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(size));
  request.set_size_bytes(bytes);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::ResizeVolumeResponse resized, client->ResizeVolume(request));
  const std::string name = ShortName(request.name());
  const std::string grown = absl::StrCat("has ", FormatByteSize(bytes));
  if (resized.has_operation()) {
    RETURN_IF_ERROR(Complete(session, *client, resized.operation(), grown));
  } else if (session.output.ForPrograms()) {
    PrintMessage(resized, session.output.format, session.out());
  } else {
    session.Say(session.output.format == Format::kName ? name : absl::StrCat(name, ": ", grown));
  }
  for (const std::string& step : resized.next_steps()) {
    if (!session.output.ForPrograms()) session.Say(absl::StrCat(name, ": ", step));
  }
  return WarnOfSpace(session, *client);
}

struct ImportWords {
  std::string name, source, format = "auto", description;
};

absl::Status Import(Session& session, const ImportWords& words) {
  v1::ImportVolumeRequest request;
  ASSIGN_OR_RETURN(const std::string full, NameIn("volumes", words.name));
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_volume_id(ShortName(full));
  request.set_source(AbsolutePath(words.source, folder));
  if (words.format == "raw") request.set_format(v1::ImportVolumeRequest::RAW);
  if (words.format == "qcow2") request.set_format(v1::ImportVolumeRequest::QCOW2);
  request.set_description(words.description);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  RETURN_IF_ERROR(Complete(session, *client, client->ImportVolume(request), "imported"));
  return WarnOfSpace(session, *client);
}

absl::Status ExportToStdout(Session& session, const std::string& name) {
  if (session.out_is_terminal()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "a volume does not go onto a terminal",
                     {"INVALID_ARGUMENT", "", "give a FILE, or | a program"});
  }
  v1::DownloadVolumeRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  SparseOutput output;
  absl::Status status;
  const std::string what = ShortName(name);
  const TransferPace pace;
  const absl::Status received = client->DownloadVolume(request, [&](const v1::DownloadVolumeResponse& piece) {
    status = output.Take(piece.size_bytes(), piece.offset(), piece.data());
    session.ShowProgress(what, pace.Text("exporting", piece.offset(), piece.size_bytes()));
    return status.ok();
  });
  session.EndProgress(what);
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(status);
  return output.End();
}

absl::Status Export(Session& session, const std::string& typed, const std::string& file) {
  v1::ExportVolumeRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("volumes", typed));
  if (file == "-") return ExportToStdout(session, request.name());
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(file, folder));
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  return Complete(session, *client, client->ExportVolume(request), absl::StrCat("exported to ", request.path()));
}

void AddTransfer(CLI::App* noun, Session& session) {
  CLI::App* import = noun->add_subcommand("import", "Make a volume of a disk's file or a block device");
  auto in = std::make_shared<ImportWords>();
  import->add_option("NAME", in->name, "the volume's name")->required();
  import->add_option("SOURCE", in->source, "raw, or qcow2; a relative path is seen from here")->required();
  import->add_option("--format", in->format, "what it is, when that is told wrongly")
      ->check(CLI::IsMember({"auto", "raw", "qcow2"}));
  import->add_option("--description", in->description, "free text");
  OnVerb(import, session, [=, &session] { return Import(session, *in); });

  CLI::App* out = noun->add_subcommand("export", "Write a volume to a file, raw and sparse");
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  out->add_option("NAME", words->first, "a volume")->required();
  out->add_option("FILE", words->second, "a new file; - for stdout")->required();
  OnVerb(out, session, [=, &session] { return Export(session, words->first, words->second); });
}

}  // namespace

void AddVolume(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("volume", "Disks that outlive guests: ubdb=volume:NAME")->group(kHostGroup);
  noun->require_subcommand(1);

  CLI::App* create = noun->add_subcommand("create", "Make an empty volume");
  auto words = std::make_shared<CreateWords>();
  create->add_option("NAME", words->name, "its name")->required();
  create->add_option("--size", words->size, "its size, as 10G; it takes space as it is written to")->required();
  create->add_option("--format", words->format, "what is put on it: ext4 or swap; without it, nothing")
      ->check(CLI::IsMember({"ext4", "swap"}));
  create->add_option("--description", words->description, "free text");
  OnVerb(create, session, [=, &session] { return Create(session, *words); });

  OnVerb(noun->add_subcommand("list", "List the volumes"), session, [&session] { return List(session); });

  CLI::App* describe = noun->add_subcommand("describe", "Say all about volumes");
  auto described = std::make_shared<std::vector<std::string>>();
  describe->add_option("NAME", *described, "volumes")->required();
  OnVerb(describe, session, [=, &session] { return DescribeVolumes(session, *described); });

  CLI::App* resize = noun->add_subcommand("resize", "Make a volume larger, and the filesystem or swap area on it");
  auto resized = std::make_shared<std::pair<std::string, std::string>>();
  resize->add_option("NAME", resized->first, "a volume")->required();
  resize->add_option("SIZE", resized->second, "the new size, as 20G; never less than it has")->required();
  OnVerb(resize, session, [=, &session] { return Resize(session, resized->first, resized->second); });

  AddTransfer(noun, session);

  CLI::App* remove = noun->add_subcommand("delete", "Remove volumes that no guest has, and what is in them");
  auto removed = std::make_shared<std::vector<std::string>>();
  remove->add_option("NAME", *removed, "volumes")->required();
  OnVerb(remove, session, [=, &session] { return Delete(session, *removed); });
}

}  // namespace umld::umlctl
