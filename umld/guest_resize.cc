// The disk of a guest becomes larger: its host file first, then what the running kernel sees of it.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/grow_disk.h"
#include "umld/guests.h"
#include "umld/vmcore_wire.h"

namespace umld {

using vmcore::v1::Request;

// What is wanted, as the operation remembers it: once it is committed it is carried out, by whichever umld.
struct Guests::Resize {
  uint64_t size_bytes = 0, old_bytes = 0;
  devices::DiskSpec spec;
  std::optional<Credentials> opener;  // with whose permissions the file grows

  std::string device() const { return devices::DiskName(spec.unit); }
  std::string Encode() const {
    return absl::StrCat(size_bytes, " ", old_bytes, " ", opener.has_value() ? opener->ToText() : "-", " ",
                        devices::PrintDiskSpec(spec));
  }
  static std::optional<Resize> Decode(const std::string& text) {
    const std::vector<std::string> words = absl::StrSplit(text, absl::MaxSplits(' ', 3));
    Resize resize;
    if (words.size() != 4 || !absl::SimpleAtoi(words[0], &resize.size_bytes) ||
        !absl::SimpleAtoi(words[1], &resize.old_bytes)) {
      return std::nullopt;
    }
    if (words[2] != "-") {
      absl::StatusOr<Credentials> opener = Credentials::Parse(words[2]);
      if (!opener.ok()) return std::nullopt;
      resize.opener = *std::move(opener);
    }
    absl::StatusOr<devices::DiskSpec> spec = devices::ParseDiskSpec(words[3]);
    if (!spec.ok()) return std::nullopt;
    resize.spec = *std::move(spec);
    return resize;
  }
};

namespace {

devices::DiskSpec ToSpec(const state::DiskRow& row) { return {row.unit, row.flags, row.path, row.backing, row.serial}; }

// What the running kernel has at the unit.
const vmcore::v1::Disk* FindLive(const GuestView& view, uint32_t unit) {
  if (!view.alive) return nullptr;
  for (const vmcore::v1::Disk& disk : view.facts.live_disks()) {
    if (disk.unit() == unit) return &disk;
  }
  return nullptr;
}

// The disk that the guest has there, or would have at its next start.
std::optional<state::DiskRow> FindDisk(const GuestView& view, uint32_t unit) {
  if (const vmcore::v1::Disk* live = FindLive(view, unit)) return FromVmcoreDisk(*live);
  for (const state::DiskRow& disk : view.row.disks) {
    if (disk.unit == unit) return disk;
  }
  return std::nullopt;
}

bool KernelHas(const GuestView& view, uint32_t unit, uint64_t bytes) {
  const vmcore::v1::Disk* live = FindLive(view, unit);
  return live != nullptr && live->size_bytes() >= bytes;
}

}  // namespace

absl::StatusOr<v1::ResizeDiskResponse> Guests::ResizeDisk(const GuestPtr& guest, const v1::ResizeDiskRequest& request,
                                                          const Caller& caller) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  ASSIGN_OR_RETURN(const uint32_t unit, devices::ParseDiskName(request.disk().substr(request.disk().rfind('/') + 1)));
  state::OperationRow row;
  row.verb = "resize";
  row.guest_id = view.row.id;
  row.target = absl::StrCat(view.name(), "/disks/", devices::DiskName(unit));
  row.request_id = request.request_id();
  if (!row.request_id.empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(row.request_id));
    if (earlier.has_value()) {
      RETURN_IF_ERROR(OperationStatus(*earlier));
      if (auto resize = Resize::Decode(earlier->payload)) return ShowResize(guest, *resize, absl::OkStatus());
    }
  }
  const std::optional<state::DiskRow> disk = FindDisk(view, unit);
  if (!disk.has_value()) {
    return MakeError(
        absl::StatusCode::kNotFound, absl::StrCat(noun, " has no ", devices::DiskName(unit)),
        {"DEVICE_NOT_PLUGGED", row.target, absl::StrCat("`umlctl describe ", view.row.name, "` shows its disks")});
  }
  ASSIGN_OR_RETURN(const VolumeCatalog::Hold hold, volumes_->Use({*disk}));
  Resize resize{request.size_bytes(), 0, ToSpec(*disk), WhoOpens(*disk, caller)};
  absl::StatusOr<uint64_t> from =
      ActAs(resize.opener, [&] { return devices::CheckGrow(resize.spec, resize.size_bytes); });
  if (!from.ok()) return Annotate(Annotate(from.status(), "disk " + resize.device()), noun);
  resize.old_bytes = *from;
  // Also: another guest's COW files would not fit a backing file that has grown.
  RETURN_IF_ERROR(Annotate(CheckDisk(*disk, view.row.disks, view.row.id), noun));
  row.payload = resize.Encode();
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (std::optional<absl::Status> repeated = Repeated(begun)) {
    RETURN_IF_ERROR(*repeated);
    return ShowResize(guest, resize, absl::OkStatus());
  }
  return RunResize(guest, resize, begun.row);
}

absl::StatusOr<v1::ResizeDiskResponse> Guests::RunResize(const GuestPtr& guest, const Resize& resize,
                                                         const state::OperationRow& operation) {
  const std::string noun = absl::StrCat("guest ", table_->View(guest).row.name);
  auto failed = [&](const absl::Status& status) {
    absl::Status annotated = Annotate(Annotate(status, "disk " + resize.device()), noun);
    operations_->Finish(operation, annotated);
    return annotated;
  };
  absl::Status grown = ActAs(resize.opener, [&] { return devices::GrowDisk(resize.spec, resize.size_bytes); });
  if (!grown.ok()) return failed(grown);
  absl::Status replugged;
  const GuestView view = table_->View(guest);
  if (FindLive(view, resize.spec.unit) != nullptr && !KernelHas(view, resize.spec.unit, resize.size_bytes)) {
    Request request;
    request.mutable_replug_disk()->set_unit(resize.spec.unit);
    absl::StatusOr<vmcore::v1::Reply> reply = runtime_->Call(guest, request, GuestRuntime::kChangePatience);
    replugged = reply.status();
    if (GetErrorDetail(replugged).reason == "DISK_LOST") return failed(replugged);
    if (reply.ok()) {
      table_->Update(guest, [&](GuestView& now) {
        if (now.alive) now.facts = reply->facts();
      });
    }
  }
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  state::EventRow event;
  event.type = "disk.resized";
  event.subject = operation.target;
  event.message =
      absl::StrCat(resize.spec.path, ": ", FormatByteSize(resize.old_bytes), " to ", FormatByteSize(resize.size_bytes));
  GuestTable::Change change;
  change.events = {event};
  change.finished = &done;
  if (absl::Status committed = table_->Commit(guest, change); !committed.ok()) return failed(committed);
  return ShowResize(guest, resize, replugged);
}

v1::ResizeDiskResponse Guests::ShowResize(const GuestPtr& guest, const Resize& resize,
                                          const absl::Status& replugged) const {
  const GuestView view = table_->View(guest);
  const std::string& name = view.row.name;
  const std::string device = resize.device();
  v1::ResizeDiskResponse response;
  if (const auto disk = FindDisk(view, resize.spec.unit)) {
    const bool persistent = std::any_of(view.row.disks.begin(), view.row.disks.end(),
                                        [&](const state::DiskRow& wanted) { return wanted.unit == disk->unit; });
    *response.mutable_disk() = DiskToProto(view, *disk, persistent);
    NameVolume(response.mutable_disk());
  }
  response.set_grown_path(resize.spec.path);
  response.set_old_file_bytes(resize.old_bytes);
  response.set_file_bytes(resize.size_bytes);
  response.set_guest_sees_it(KernelHas(view, resize.spec.unit, resize.size_bytes));
  if (!response.guest_sees_it() && FindLive(view, resize.spec.unit) != nullptr) {
    const std::string again =
        absl::StrCat("umlctl disk resize ", name, " ", device, " ", FormatByteSize(resize.size_bytes));
    if (GetErrorDetail(replugged).reason == "DEVICE_BUSY") {
      response.add_next_steps(
          absl::StrCat("the guest has it open and sees the old size: inside the guest, umount /dev/", device,
                       " or swapoff /dev/", device, "; then, outside: ", again));
    } else {
      response.add_next_steps(absl::StrCat("the guest sees the old size",
                                           replugged.ok() ? "" : absl::StrCat(" (", replugged.message(), ")"),
                                           "; try again: ", again));
    }
  } else if (!response.guest_sees_it()) {
    response.add_next_steps("the guest sees it from its next start on");
  }
  response.add_next_steps(absl::StrCat("inside the guest, grow what is on it then: resize2fs /dev/", device,
                                       " for an ext2/3/4 filesystem, or fdisk /dev/", device,
                                       " where it is partitioned"));
  for (const GuestView& other : table_->Views()) {
    if (other.row.id == view.row.id || !other.alive) continue;
    for (const vmcore::v1::Disk& live : other.facts.live_disks()) {
      if (live.path() != resize.spec.path || live.size_bytes() >= resize.size_bytes) continue;
      response.add_next_steps(absl::StrCat("guest ", other.row.name, " shares it: umlctl disk resize ", other.row.name,
                                           " ", devices::DiskName(live.unit()), " ",
                                           FormatByteSize(resize.size_bytes)));
    }
  }
  return response;
}

// The intent was committed, so it is finished: growing twice is growing once, and the facts tell what the kernel has.
void Guests::ResumeResize(const GuestPtr& guest, const state::OperationRow& operation) {
  Settled(guest, operation);
  const std::optional<Resize> resize = Resize::Decode(operation.payload);
  if (!resize.has_value()) {
    return operations_->Finish(operation, Interrupted(table_->View(guest), operation));
  }
  [[maybe_unused]] absl::Status status = RunResize(guest, *resize, operation).status();
}

}  // namespace umld
