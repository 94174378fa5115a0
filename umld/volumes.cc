#include "umld/volumes.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/credentials.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/disk/disk_spec.h"
#include "image/import.h"
#include "image/raw_copy.h"
#include "spdlog/spdlog.h"
#include "umld/description.h"
#include "umld/disk_room.h"
#include "umld/host_file.h"
#include "umld/operation_service.h"
#include "umld/volume_content.h"

namespace umld {
namespace {

constexpr mode_t kMode = 0600;
constexpr uint64_t kBlock = 4096, kLeast = uint64_t{1} << 20, kMost = uint64_t{1} << 62;
constexpr size_t kNamed = 5;
constexpr char kCreate[] = "create-volume", kImport[] = "import-volume", kExport[] = "export-volume",
               kResize[] = "resize-volume", kDelete[] = "delete-volume";

absl::Status NoSuchVolume(const std::string& name) {
  return MakeError(
      absl::StatusCode::kNotFound, absl::StrCat("there is no volume \"", name, "\""),
      {"VOLUME_NOT_FOUND", "volumes/" + name, "`umlctl volume list` shows those there are, `volume create` makes one"});
}

absl::StatusOr<uint64_t> WholeBlocks(const std::string& name, uint64_t size_bytes) {
  if (size_bytes >= kLeast && size_bytes <= kMost) return (size_bytes + kBlock - 1) / kBlock * kBlock;
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("volume ", name, ": a size of ", HumanByteSize(size_bytes)),
                   {"INVALID_SIZE", "volumes/" + name, "give at least 1M, as 10G, and less than 4 EiB"});
}

absl::Status Interrupted(const state::OperationRow& operation) {
  return MakeError(absl::StatusCode::kAborted, "umld was restarted in the middle of it",
                   {"INTERRUPTED", operation.target, "ask for it again"});
}

std::string NameIn(const state::OperationRow& operation) {
  return operation.target.substr(operation.target.find('/') + 1);
}

bool SameTime(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

// Copies what nobody may write to meanwhile.
absl::Status CopyQuiet(int from, const std::function<absl::Status()>& copy) {
  struct stat before = {}, after = {};
  fstat(from, &before);
  RETURN_IF_ERROR(copy());
  fstat(from, &after);
  if (SameTime(before.st_mtim, after.st_mtim)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAborted, "it was written to while it was copied",
                   {"SOURCE_CHANGED", "", "stop what writes to it, and ask again"});
}

// The old size and the new one.
std::pair<uint64_t, uint64_t> DecodeResize(const std::string& payload) {
  const std::pair<std::string, std::string> words = absl::StrSplit(payload, absl::MaxSplits(' ', 1));
  std::pair<uint64_t, uint64_t> sizes;
  if (!absl::SimpleAtoi(words.first, &sizes.first) || !absl::SimpleAtoi(words.second, &sizes.second)) return {};
  return sizes;
}

}  // namespace

bool Volumes::Attachment::writes() const { return !absl::StrContains(disk.flags, 'r'); }

Volumes::Volumes(const DaemonConfig* config, VolumeCatalog* catalog, state::Store* store, GuestTable* table,
                 Guests* guests, Operations* operations, EventLog* events, WorkerPool* pool)
    : config_(config),
      catalog_(catalog),
      store_(store),
      table_(table),
      guests_(guests),
      operations_(operations),
      events_(events),
      pool_(pool),
      files_(catalog->folder(), ".img", kMode) {}

void Volumes::Recover() {
  absl::StatusOr<std::vector<state::VolumeRow>> rows = store_->LoadVolumes();
  if (!rows.ok()) return spdlog::error("volumes cannot be read: {}", std::string(rows.status().message()));
  std::set<std::string> needed;
  for (const state::VolumeRow& row : *rows) needed.insert(catalog_->PathOf(row.name));
  files_.RemoveLeftovers(needed);
}

bool Volumes::ResumeOperation(const state::OperationRow& operation) {
  const std::set<std::string> verbs = {kCreate, kImport, kExport, kResize, kDelete};
  if (verbs.count(operation.verb) == 0) return false;
  operations_->Resume(operation);
  const std::string name = NameIn(operation);
  // Not so when the database cannot be read.
  const bool is_gone = absl::IsNotFound(Find(name).status());
  if (operation.verb == kResize && !is_gone) {
    absl::StatusOr<VolumeCatalog::Hold> hold = catalog_->Change(name, "is being resized");
    if (!hold.ok()) {
      operations_->Finish(operation, hold.status());
      return true;
    }
    Run(operation, *std::move(hold), [this](const state::OperationRow& begun, VolumeCatalog::Hold* held) {
      return RunGrow(begun, /*resumed=*/true, held);
    });
    return true;
  }
  // The row comes after the file and goes before it: a file of this operation without a row is nobody's.
  if (operation.verb == kDelete && is_gone) {
    operations_->Finish(operation, files_.Remove(catalog_->PathOf(name)));
    return true;
  }
  if ((operation.verb == kCreate || operation.verb == kImport) && is_gone) {
    files_.Remove(catalog_->PathOf(name)).IgnoreError();
  }
  operations_->Finish(operation, Interrupted(operation));
  return true;
}

image::StepProgress Volumes::ReportTo(uint64_t operation, int made) {
  return [=, this](const std::string& what, uint64_t done, uint64_t total) -> absl::Status {
    if (made >= 0) RETURN_IF_ERROR(CheckDiskRoom(*config_, made));
    return operations_->SetByteProgress(operation, what, done, total);
  };
}

absl::StatusOr<state::VolumeRow> Volumes::Find(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string id, ParseVolumeName(name));
  ASSIGN_OR_RETURN(const std::vector<state::VolumeRow> rows, store_->LoadVolumes());
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == id; });
  return found == rows.end() ? absl::StatusOr<state::VolumeRow>(NoSuchVolume(id)) : *found;
}

// ---------------------------------------------------------------- making one

void Volumes::Run(const state::OperationRow& operation, VolumeCatalog::Hold hold, Body body) {
  operations_->AllowCancel(operation.id);
  pool_->Submit([this, operation, hold = std::move(hold), body = std::move(body)]() mutable {
    const absl::Status status = body(operation, &hold);
    hold.reset();
    if (!status.ok()) operations_->Finish(operation, Annotate(status, absl::StrCat("volume ", NameIn(operation))));
  });
}

absl::StatusOr<OperationView> Volumes::Begin(state::OperationRow row, VolumeCatalog::Hold hold, Body body) {
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(std::move(row)));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  Run(begun.row, std::move(hold), std::move(body));
  return OperationView{.row = begun.row};
}

absl::StatusOr<OperationView> Volumes::BeginMaking(const char* verb, const std::string& id,
                                                   const std::string& description, const std::string& request_id,
                                                   Fill fill) {
  state::VolumeRow row;
  ASSIGN_OR_RETURN(row.name, ParseVolumeName(id));
  RETURN_IF_ERROR(CheckDescription(description, "volumes/" + row.name));
  row.description = description;
  state::OperationRow operation;
  operation.verb = verb;
  operation.target = "volumes/" + row.name;
  operation.request_id = request_id;
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  ASSIGN_OR_RETURN(VolumeCatalog::Hold hold, catalog_->Change(row.name, "is being made"));
  struct stat info = {};
  const std::string path = catalog_->PathOf(row.name);
  if (Find(row.name).ok()) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a volume \"", row.name, "\" already"),
                     {"VOLUME_EXISTS", operation.target, "choose another name, or delete that one"});
  }
  if (lstat(path.c_str(), &info) == 0) {
    return MakeError(
        absl::StatusCode::kAlreadyExists, absl::StrCat(path, " is there, and is no volume's"),
        {"FILE_EXISTS", path, "move it away and import it (`umlctl volume import`), or choose another name"});
  }
  return Begin(operation, std::move(hold),
               [this, row, fill = std::move(fill)](const state::OperationRow& begun, VolumeCatalog::Hold* held) {
                 return Make(row, fill, begun, held);
               });
}

// Nothing is there under its name before the last step; a draft that is given up removes itself.
absl::Status Volumes::Make(const state::VolumeRow& row, const Fill& fill, const state::OperationRow& operation,
                           VolumeCatalog::Hold* hold) {
  Content content;
  content.path = catalog_->PathOf(row.name);
  {
    ASSIGN_OR_RETURN(Draft draft, files_.Begin());
    RETURN_IF_ERROR(fill(draft, operation.id));
    const UniqueFd fd = OpenVolumeFile(draft.path());
    if (!fd.ok() || fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("write ", draft.path()));
    RETURN_IF_ERROR(files_.Place(std::move(draft), &content));
  }
  state::VolumeRow made = row;
  made.created_ns = absl::ToUnixNanos(absl::Now());
  std::string message;
  if (absl::StatusOr<std::vector<state::VolumeRow>> rows = store_->LoadVolumes(); rows.ok()) {
    rows->push_back(made);
    if (absl::StatusOr<v1::VolumeSpace> space = Space(*rows); space.ok()) message = space->warning();
  }
  const char* const event = operation.verb == kCreate ? "volume.created" : "volume.imported";
  absl::Status status = Commit(event, message, operation, hold,
                               [&](state::Transaction& transaction) { return transaction.InsertVolume(made); });
  // A row that is there after all keeps its file.
  if (!status.ok() && absl::IsNotFound(Find(row.name).status())) files_.Remove(content.path).IgnoreError();
  return status;
}

absl::StatusOr<OperationView> Volumes::Create(const v1::CreateVolumeRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseVolumeName(request.volume_id()));
  ASSIGN_OR_RETURN(const uint64_t size, WholeBlocks(name, request.size_bytes()));
  if (!v1::VolumeFormat_IsValid(request.format())) {
    return MakeError(absl::StatusCode::kInvalidArgument, "a format that this umld does not know",
                     {"UNKNOWN_FORMAT", "volumes/" + name, "give ext4, swap, or none"});
  }
  return BeginMaking(kCreate, name, request.description(), request.request_id(),
                     [size, format = request.format()](const Draft& draft, uint64_t) -> absl::Status {
                       if (ftruncate(draft.fd(), static_cast<off_t>(size)) != 0) {
                         if (errno != EFBIG) return ErrnoError(errno, draft.path());
                         return MakeError(absl::StatusCode::kInvalidArgument,
                                          absl::StrCat("the host's filesystem holds no file of ", HumanByteSize(size)),
                                          {"INVALID_SIZE", draft.path(), "give a smaller --size"});
                       }
                       return FormatVolume(draft.path(), format);
                     });
}

absl::StatusOr<OperationView> Volumes::Import(const v1::ImportVolumeRequest& request, const Caller& caller) {
  constexpr char kQcow2Magic[] = {'Q', 'F', 'I', '\xfb'};
  const std::string& text = request.source();
  ASSIGN_OR_RETURN(UniqueFd opened, ActAs(caller.user, [&] { return OpenHostSource(text); }));
  auto source = std::make_shared<UniqueFd>(std::move(opened));
  struct stat info = {};
  if (fstat(source->get(), &info) != 0 || (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(text, " is no file or block device"),
                     {"UNKNOWN_FORMAT", text, "give a disk: raw or qcow2"});
  }
  char magic[sizeof(kQcow2Magic)] = {};
  const bool looks_qcow2 = pread(source->get(), magic, sizeof(magic), 0) == static_cast<ssize_t>(sizeof(magic)) &&
                           std::equal(magic, magic + sizeof(magic), kQcow2Magic);
  image::ImportOptions options;
  const bool is_qcow2 = request.format() == v1::ImportVolumeRequest::QCOW2 ||
                        (request.format() == v1::ImportVolumeRequest::FORMAT_UNSPECIFIED && looks_qcow2);
  options.small_blocks = true;
  options.format = is_qcow2 ? image::Format::kQcow2 : image::Format::kRaw;
  const std::string description = request.description().empty() ? absl::StrCat("from ", text) : request.description();
  return BeginMaking(kImport, request.volume_id(), description, request.request_id(),
                     [this, source, options, text](const Draft& draft, uint64_t operation) {
                       Draft scratch;
                       image::ImportOptions with_scratch = options;
                       with_scratch.scratch = [&]() -> absl::StatusOr<std::string> {
                         ASSIGN_OR_RETURN(scratch, files_.Begin());
                         return scratch.path();
                       };
                       return Annotate(CopyQuiet(source->get(),
                                                 [&] {
                                                   return image::Import(source->get(), draft.path(), with_scratch,
                                                                        ReportTo(operation, draft.fd()));
                                                 }),
                                       text);
                     });
}

// ---------------------------------------------------------------- using one

absl::StatusOr<UniqueFd> Volumes::OpenToRead(const std::string& name, std::shared_ptr<const void>* hold) {
  ASSIGN_OR_RETURN(const state::VolumeRow row, Find(name));
  ASSIGN_OR_RETURN(*hold, catalog_->Change(row.name, "is being exported"));
  for (const Attachment& attachment : AttachmentsOf(row.name)) {
    const std::string& guest = attachment.guest.row.name;
    if (!attachment.guest.alive || !attachment.writes() || attachment.guest.state() == v1::PAUSED) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("volume ", row.name, " is written to by guest ", guest, ", which runs"),
                     {"VOLUME_IN_USE", "volumes/" + row.name,
                      absl::StrCat("`umlctl stop ", guest, "` first; `umlctl pause ", guest,
                                   "` will do where what a power cut leaves is enough")});
  }
  const std::string path = catalog_->PathOf(row.name);
  UniqueFd fd = OpenVolumeFile(path);
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<OperationView> Volumes::Export(const v1::ExportVolumeRequest& request, const Caller& caller) {
  ASSIGN_OR_RETURN(const state::VolumeRow row, Find(request.name()));
  state::OperationRow operation;
  operation.verb = kExport;
  operation.target = "volumes/" + row.name;
  operation.request_id = request.request_id();
  if (!operation.request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(operation.request_id));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  VolumeCatalog::Hold hold;
  ASSIGN_OR_RETURN(UniqueFd opened, OpenToRead(request.name(), &hold));
  auto from = std::make_shared<UniqueFd>(std::move(opened));
  ASSIGN_OR_RETURN(UniqueFd made, ActAs(caller.user, [&] { return BeginHostFile(request.path()); }));
  auto to = std::make_shared<UniqueFd>(std::move(made));
  return Begin(operation, std::move(hold),
               [this, caller, from, to, target = request.path()](const state::OperationRow& begun,
                                                                 VolumeCatalog::Hold* held) -> absl::Status {
                 RETURN_IF_ERROR(CopyQuiet(from->get(),
                                           [&] { return image::CopyRaw(from->get(), to->get(), ReportTo(begun.id)); }));
                 RETURN_IF_ERROR(ActAs(caller.user, [&] { return EndHostFile(to->get(), target); }));
                 held->reset();
                 operations_->Finish(begun, absl::OkStatus());
                 return absl::OkStatus();
               });
}

void Volumes::Resize(const v1::ResizeVolumeRequest& request, const Caller& caller,
                     std::function<void(absl::StatusOr<v1::ResizeVolumeResponse>)> done) {
  const absl::StatusOr<state::VolumeRow> row = Find(request.name());
  if (!row.ok()) return done(row.status());
  const absl::StatusOr<uint64_t> size = WholeBlocks(row->name, request.size_bytes());
  if (!size.ok()) return done(size.status());
  const std::vector<Attachment> attachments = AttachmentsOf(row->name);
  const auto runs = [](const Attachment& attachment) { return attachment.guest.alive; };
  const auto first = std::find_if(attachments.begin(), attachments.end(), runs);
  if (first == attachments.end()) return done(BeginGrow(row->name, *size, request.request_id()));
  const auto writer = std::find_if(attachments.begin(), attachments.end(), [&](const Attachment& attachment) {
    return runs(attachment) && attachment.writes();
  });
  if (writer == attachments.end()) {
    const std::string& guest = first->guest.row.name;
    return done(MakeError(absl::StatusCode::kFailedPrecondition,
                          absl::StrCat("volume ", row->name, " is read by guest ", guest, ", which runs"),
                          {"VOLUME_IN_USE", "volumes/" + row->name,
                           absl::StrCat("`umlctl unplug ", guest, " ", devices::DiskName(first->disk.unit),
                                        "` first, or stop that guest")}));
  }
  v1::ResizeDiskRequest disk;
  disk.set_guest(writer->guest.name());
  disk.set_disk(devices::DiskName(writer->disk.unit));
  disk.set_size_bytes(*size);
  disk.set_request_id(request.request_id());
  guests_->InLine(disk.guest(), [this, disk, caller, done = std::move(done)](absl::StatusOr<GuestPtr> guest) {
    absl::StatusOr<v1::ResizeDiskResponse> resized;
    resized = guest.ok() ? guests_->ResizeDisk(*guest, disk, caller) : guest.status();
    if (!resized.ok()) return done(resized.status());
    v1::ResizeVolumeResponse response;
    *response.mutable_next_steps() = resized->next_steps();
    done(response);
  });
}

absl::StatusOr<v1::ResizeVolumeResponse> Volumes::BeginGrow(const std::string& name, uint64_t size_bytes,
                                                            const std::string& request_id) {
  v1::ResizeVolumeResponse response;
  const std::string path = catalog_->PathOf(name);
  const UniqueFd fd = OpenVolumeFile(path);
  struct stat info = {};
  if (!fd.ok() || fstat(fd.get(), &info) != 0) return ErrnoError(errno, absl::StrCat("open ", path));
  const uint64_t old_bytes = static_cast<uint64_t>(info.st_size);
  if (DetectVolumeFormat(fd.get()) == v1::VOLUME_FORMAT_UNSPECIFIED) {
    response.add_next_steps(
        "inside a guest, grow what is on it: fdisk or growpart where it is partitioned, else the "
        "filesystem's own program");
  }
  state::OperationRow operation;
  operation.verb = kResize;
  operation.target = "volumes/" + name;
  operation.request_id = request_id;
  operation.payload = absl::StrCat(old_bytes, " ", size_bytes);
  absl::StatusOr<OperationView> view;
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request_id));
    if (earlier.has_value()) {
      ASSIGN_OR_RETURN(view, operations_->Get(earlier->id));
      *response.mutable_operation() = ToProto(*view);
      return response;
    }
  }
  if (size_bytes < old_bytes) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("volume ", name, " has ", FormatByteSize(old_bytes), ", and to shrink it to ",
                     FormatByteSize(size_bytes), " would cut off what is stored at its end"),
        {"WOULD_SHRINK", operation.target,
         "umld never shrinks a volume; make a smaller one (`umlctl volume create`) and copy inside a guest"});
  }
  ASSIGN_OR_RETURN(VolumeCatalog::Hold hold, catalog_->Change(name, "is being resized"));
  // One that came up since Resize looked; from here on none does.
  for (const Attachment& attachment : AttachmentsOf(name)) {
    if (!attachment.guest.alive) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("volume ", name, ": guest ", attachment.guest.row.name, " was just started with it"),
                     {"VOLUME_IN_USE", operation.target, "ask again"});
  }
  view = Begin(operation, std::move(hold), [this](const state::OperationRow& begun, VolumeCatalog::Hold* held) {
    return RunGrow(begun, /*resumed=*/false, held);
  });
  RETURN_IF_ERROR(view.status());
  *response.mutable_operation() = ToProto(*view);
  return response;
}

absl::Status Volumes::RunGrow(const state::OperationRow& operation, bool resumed, VolumeCatalog::Hold* hold) {
  const auto [old_bytes, size_bytes] = DecodeResize(operation.payload);
  if (size_bytes == 0) return Interrupted(operation);
  RETURN_IF_ERROR(
      GrowVolume(catalog_->PathOf(NameIn(operation)), {old_bytes, size_bytes, resumed}, ReportTo(operation.id)));
  return Commit("volume.resized", absl::StrCat(FormatByteSize(old_bytes), " to ", FormatByteSize(size_bytes)),
                operation, hold, [](state::Transaction&) { return absl::OkStatus(); });
}

absl::Status Volumes::Delete(const std::string& name) {
  ASSIGN_OR_RETURN(const state::VolumeRow row, Find(name));
  ASSIGN_OR_RETURN(const VolumeCatalog::Hold hold, catalog_->Change(row.name, "is being deleted"));
  std::set<std::string> guests;
  for (const Attachment& attachment : AttachmentsOf(row.name)) guests.insert(attachment.guest.row.name);
  if (!guests.empty()) {
    std::vector<std::string> some(guests.begin(), std::next(guests.begin(), std::min(guests.size(), kNamed)));
    if (guests.size() > some.size()) some.push_back(absl::StrCat("and ", guests.size() - some.size(), " more"));
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("volume ", row.name, " is in use by guest", guests.size() == 1 ? " " : "s ",
                                  absl::StrJoin(some, ", ")),
                     {"VOLUME_IN_USE", "volumes/" + row.name,
                      absl::StrCat("`umlctl unplug ", *guests.begin(), " DEVICE` first, or delete the guest")});
  }
  state::OperationRow operation;
  operation.verb = kDelete;
  operation.target = "volumes/" + row.name;
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(operation));
  const absl::Status status = RunDelete(row.name, begun.row);
  if (!status.ok()) operations_->Finish(begun.row, status);
  return Annotate(status, absl::StrCat("volume ", row.name));
}

// The row goes first: a file without a row takes space, a row without a file is a volume that has lost everything.
absl::Status Volumes::RunDelete(const std::string& name, const state::OperationRow& operation) {
  RETURN_IF_ERROR(CommitEvent("volume.deleted", "", operation.target,
                              [&](state::Transaction& transaction) { return transaction.DeleteVolume(name); }));
  RETURN_IF_ERROR(files_.Remove(catalog_->PathOf(name)));
  operations_->Finish(operation, absl::OkStatus());
  return absl::OkStatus();
}

absl::Status Volumes::Commit(const char* event_type, const std::string& message, const state::OperationRow& operation,
                             VolumeCatalog::Hold* hold,
                             const std::function<absl::Status(state::Transaction&)>& change) {
  const state::OperationRow outcome = Operations::Outcome(operation, absl::OkStatus());
  RETURN_IF_ERROR(
      CommitEvent(event_type, message, operation.target, [&](state::Transaction& transaction) -> absl::Status {
        RETURN_IF_ERROR(change(transaction));
        return transaction.UpdateOperation(outcome);
      }));
  hold->reset();
  operations_->Published(outcome);
  return absl::OkStatus();
}

absl::Status Volumes::CommitEvent(const char* event_type, const std::string& message, const std::string& subject,
                                  const std::function<absl::Status(state::Transaction&)>& change) {
  std::vector<state::EventRow> events(1);
  events[0].type = event_type;
  events[0].subject = subject;
  events[0].message = message;
  events[0].time_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(change(transaction));
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    return absl::OkStatus();
  }));
  events_->Publish(events);
  return absl::OkStatus();
}

}  // namespace umld
