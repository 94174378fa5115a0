#include "umld/guest_export.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/credentials.h"
#include "base/status.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "devices/disk/open_disk.h"
#include "google/protobuf/util/time_util.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/image_name.h"
#include "umld/nic_wish.h"
#include "umld/version.h"

namespace umld {
namespace {

constexpr char kExport[] = "export-guest";

// What can be set of a guest, as it would be given to CreateGuest; its disks are told of elsewhere.
v1::Guest WishesOf(GuestView view) {
  view.alive = false;
  v1::Guest shown;
  ToProto(view, "", "", /*summary=*/false, &shown);
  v1::Guest wishes;
  wishes.set_name(shown.name());
  wishes.set_kernel(shown.kernel());
  wishes.set_memory_bytes(shown.memory_bytes());
  wishes.set_image(shown.image());
  *wishes.mutable_kernel_args() = shown.kernel_args();
  wishes.set_description(shown.description());
  *wishes.mutable_labels() = shown.labels();
  wishes.set_confinement(shown.confinement());
  wishes.set_trust(shown.trust());
  *wishes.mutable_limits() = shown.limits();
  wishes.set_memory_reclaim(shown.memory_reclaim());
  for (const state::ConsoleRow& console : view.row.consoles) {
    v1::Console* added = wishes.add_consoles();
    added->set_name(console.device);
    added->set_channels(console.channel);
  }
  for (const state::NicRow& nic : view.row.nics) {
    v1::Nic* added = wishes.add_nics();
    *added = NicToProto(view, nic, true);
    added->set_name(nic.device);
    added->clear_spec();
    added->clear_persistent();
  }
  return wishes;
}

const state::DiskRow* FindDisk(const GuestView& view, uint32_t unit) {
  for (const state::DiskRow& disk : view.row.disks) {
    if (disk.unit == unit) return &disk;
  }
  return nullptr;
}

bool IsReadOnly(const state::DiskRow& disk) { return absl::StrContains(disk.flags, 'r'); }

// A pair that no kernel takes here would become one that another host takes.
absl::Status CheckCow(int fd, const struct stat& backing, const std::string& backing_path) {
  std::string start(devices::kCowHeaderBytes, '\0');
  const ssize_t got = pread(fd, start.data(), start.size(), 0);
  if (got < 0) return ErrnoError(errno, "read the COW file");
  start.resize(static_cast<size_t>(got));
  ASSIGN_OR_RETURN(const auto header, devices::ParseCowHeader(start));
  const bool fits = header.has_value() && header->size == static_cast<uint64_t>(backing.st_size) &&
                    int64_t{header->mtime} == backing.st_mtime;
  if (fits) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(backing_path, " is not as it was when the COW file was made over it"),
                   {"BACKING_DIFFERS", backing_path, "`umlctl disk info` on the COW file says more"});
}

}  // namespace

// What goes into the archive.
struct GuestExports::Parts {
  v1::GuestArchive manifest;
  std::vector<state::ImageRow> known_images;
  std::vector<ArchiveWriter::File> images, disks;
  std::map<std::string, std::string> image_ids;  // by path
  std::vector<std::string> notes;
  bool without_images = false;
};

GuestExport::~GuestExport() {
  if (ended_) return;
  operations_->Finish(operation_, MakeError(absl::StatusCode::kCancelled, "whoever wanted it went away",
                                            {"CANCELLED", operation_.target, "ask for it again"}));
}

absl::StatusOr<std::string> GuestExport::Next() {
  absl::StatusOr<std::string> piece = writer_.Next();
  if (piece.ok()) {
    sent_ += piece->size();
    const absl::Status wanted = operations_->SetByteProgress(operation_.id, "sending", sent_, writer_.total_bytes());
    if (!wanted.ok()) piece = wanted;
  }
  if (!piece.ok() || piece->empty()) {
    ended_ = true;
    operations_->Finish(operation_, piece.status());
  }
  return piece;
}

void GuestExports::Begin(const v1::ExportGuestRequest& request, const Caller& caller, const Done& done) {
  const absl::StatusOr<GuestPtr> found = table_->Find(request.name());
  if (!found.ok()) return done(found.status());
  const GuestView view = table_->View(*found);
  const absl::Status may = CheckUnconfined(view, "a copy of a guest that is not confined", caller);
  if (!may.ok()) return done(may);
  state::OperationRow row;
  row.verb = kExport;
  row.guest_id = view.row.id;
  row.target = view.name();
  const absl::StatusOr<Operations::Begun> begun = operations_->Begin(row);
  if (!begun.ok()) return done(begun.status());
  operations_->AllowCancel(begun->row.id);
  guests_->InLine(view.row.name, [=, this, operation = begun->row](const absl::StatusOr<GuestPtr>& guest) {
    absl::StatusOr<std::unique_ptr<GuestExport>> made = nullptr;
    if (guest.ok()) {
      made = Make(*guest, request, caller, operation);
    } else {
      made = guest.status();
    }
    if (!made.ok()) operations_->Finish(operation, made.status());
    done(std::move(made));
  });
}

absl::StatusOr<std::unique_ptr<GuestExport>> GuestExports::Make(const GuestPtr& guest,
                                                                const v1::ExportGuestRequest& request,
                                                                const Caller& caller,
                                                                const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  const std::string noun = absl::StrCat("guest ", view.row.name);
  Parts parts;
  ASSIGN_OR_RETURN(parts.known_images, store_->LoadImages());
  parts.without_images = request.without_images();
  parts.manifest.set_format(kArchiveFormat);
  parts.manifest.set_made_by(absl::StrCat("umld ", kVersion));
  *parts.manifest.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  parts.manifest.set_snapshot(request.snapshot());
  *parts.manifest.mutable_guest() = WishesOf(view);
  RETURN_IF_ERROR(Annotate(request.snapshot().empty() ? AddPresent(guest, operation, &parts)
                                                      : AddSnapshot(view, request.snapshot(), caller, &parts),
                           noun));
  std::vector<ArchiveWriter::File> files = std::move(parts.images);
  std::move(parts.disks.begin(), parts.disks.end(), std::back_inserter(files));
  absl::StatusOr<ArchiveWriter> writer = ArchiveWriter::Create(parts.manifest, std::move(files));
  if (!writer.ok()) return Annotate(writer.status(), noun);
  return std::make_unique<GuestExport>(operations_, operation, *std::move(writer), std::move(parts.notes));
}

absl::Status GuestExports::AddSnapshot(const GuestView& view, const std::string& snapshot, const Caller& caller,
                                       Parts* parts) {
  ASSIGN_OR_RETURN(Snapshots::OpenDisks opened, snapshots_->Open(absl::StrCat(view.name(), "/snapshots/", snapshot)));
  for (Snapshots::OpenDisk& copy : opened.disks) {
    state::DiskRow disk;
    disk.unit = copy.row.unit;
    disk.path = copy.row.path;
    disk.backing = copy.row.backing;
    // What the guest has said of it since: flags, and who opens what lies under it. When it says nothing of it any
    // more, the caller does, unless that is umld's own.
    const state::DiskRow* const now = FindDisk(view, disk.unit);
    if (now != nullptr && now->path == disk.path && now->backing == disk.backing) {
      disk = *now;
    } else if (ImageInFile(parts->known_images, disk.backing) == nullptr) {
      disk.opener = caller.user;
    }
    RETURN_IF_ERROR(AddDisk(disk, std::move(copy.fd), parts));
  }
  for (const state::DiskRow& disk : view.row.disks) {
    const bool in_it = std::any_of(opened.disks.begin(), opened.disks.end(),
                                   [&](const Snapshots::OpenDisk& other) { return other.row.unit == disk.unit; });
    if (!in_it) {
      parts->notes.push_back(absl::StrCat(devices::DiskName(disk.unit), " is not in the snapshot, and is left out"));
    }
  }
  return absl::OkStatus();
}

absl::Status GuestExports::AddPresent(const GuestPtr& guest, const state::OperationRow& operation, Parts* parts) {
  const GuestView view = table_->View(guest);
  Snapshots::OpenDisks copies;
  if (!std::all_of(view.row.disks.begin(), view.row.disks.end(), IsReadOnly)) {
    ASSIGN_OR_RETURN(copies, snapshots_->CopyNow(guest, operation));
  }
  if (!copies.synced) {
    parts->notes.push_back("its kernel did not say that all is written out: the disks are as after a power cut");
  }
  for (const state::DiskRow& disk : view.row.disks) {
    const std::string device = devices::DiskName(disk.unit);
    if (catalog_->IsModules(disk.path)) {
      parts->notes.push_back(absl::StrCat(device,
                                          " has the modules of a kernel of this host, and is left out; `umlctl "
                                          "plug GUEST ",
                                          device, "=modules:` gives it those of the new host's"));
      continue;
    }
    UniqueFd fd;
    for (Snapshots::OpenDisk& copy : copies.disks) {
      if (copy.row.unit == disk.unit) fd = std::move(copy.fd);
    }
    if (!fd.ok()) {
      absl::StatusOr<devices::OpenDisk> open = ActAs(
          disk.opener, [&] { return devices::OpenDiskFile(disk.path, devices::DiskAccess::kRead, /*shared=*/true); });
      if (!open.ok()) return Annotate(open.status(), absl::StrCat("disk ", device));
      fd = std::move(open->fd);
    }
    RETURN_IF_ERROR(AddDisk(disk, std::move(fd), parts));
  }
  if (!view.alive) return absl::OkStatus();
  for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
    if (FindDisk(view, live.unit()) != nullptr) continue;
    parts->notes.push_back(absl::StrCat(devices::DiskName(live.unit()), " is plugged for now alone, and is left out"));
  }
  return absl::OkStatus();
}

absl::Status GuestExports::AddDisk(const state::DiskRow& disk, UniqueFd fd, Parts* parts) {
  const std::string device = devices::DiskName(disk.unit);
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) return ErrnoError(errno, disk.path);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("disk ", device, ": ", disk.path, " is a device of the host, which is not copied"),
                     {"BLOCK_DEVICE", disk.path, "unplug it first"});
  }
  v1::ArchivedDisk* const archived = parts->manifest.add_disks();
  archived->set_device(device);
  archived->set_file(absl::StrCat("disks/", device));
  archived->set_size_bytes(static_cast<uint64_t>(info.st_size));
  archived->set_flags(disk.flags);
  archived->set_serial(disk.serial);
  if (!disk.backing.empty()) {
    RETURN_IF_ERROR(
        Annotate(AddBacking(disk, fd.get(), parts, archived->mutable_image()), absl::StrCat("disk ", device)));
  }
  parts->disks.push_back({archived->file(), std::move(fd), archived->size_bytes()});
  return absl::OkStatus();
}

absl::Status GuestExports::AddBacking(const state::DiskRow& disk, int fd, Parts* parts, std::string* id) {
  ASSIGN_OR_RETURN(devices::OpenDisk backing, ActAs(disk.opener, [&] {
                     return devices::OpenDiskFile(disk.backing, devices::DiskAccess::kRead, /*shared=*/true);
                   }));
  if (!S_ISREG(backing.info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(disk.backing, " is a device of the host, which is not copied"),
                     {"BLOCK_DEVICE", disk.backing, "unplug the disk first"});
  }
  RETURN_IF_ERROR(CheckCow(fd, backing.info, disk.backing));
  if (const auto known = parts->image_ids.find(disk.backing); known != parts->image_ids.end()) {
    *id = known->second;
    return absl::OkStatus();
  }
  *id = absl::StrCat(parts->image_ids.size() + 1);
  parts->image_ids[disk.backing] = *id;
  v1::ArchivedImage* const image = parts->manifest.add_images();
  image->set_id(*id);
  image->set_size_bytes(backing.size_bytes);
  if (const state::ImageRow* row = ImageInFile(parts->known_images, disk.backing);
      row != nullptr && absl::StartsWith(row->digest, "sha256:")) {
    image->set_digest(row->digest);
    if (!row->names.empty()) image->set_name(row->names.front());
  }
  if (parts->without_images && !image->digest().empty()) return absl::OkStatus();
  image->set_file(absl::StrCat("images/", *id));
  parts->images.push_back({image->file(), std::move(backing.fd), image->size_bytes()});
  return absl::OkStatus();
}

bool GuestExports::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kExport) return false;
  operations_->Resume(operation);
  const absl::Status interrupted =
      MakeError(absl::StatusCode::kAborted, "umld was restarted in the middle of it; nothing of it is left",
                {"INTERRUPTED", operation.target, "ask for it again"});
  if (const absl::StatusOr<GuestPtr> guest = table_->FindById(operation.guest_id); guest.ok()) {
    guests_->InLine(table_->View(*guest).row.name, [=, this](const absl::StatusOr<GuestPtr>& found) {
      if (found.ok()) snapshots_->GoOnIfPaused(*found);
      operations_->Finish(operation, interrupted);
    });
    return true;
  }
  operations_->Finish(operation, interrupted);
  return true;
}

}  // namespace umld
