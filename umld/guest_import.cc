#include "umld/guest_import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/sync_folder.h"
#include "base/umid.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_spec.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/disk_room.h"
#include "umld/image_name.h"

namespace umld {
namespace {

constexpr char kImport[] = "import-guest";
// In the folder of a guest that has no row yet.
constexpr char kMarker[] = "/importing";

absl::Status BadArchive(absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("the archive ", why),
                   {"BAD_ARCHIVE", "", "get it once more, whole, from where `umlctl export` made it"});
}

absl::Status SetSize(int fd, absl::string_view file, uint64_t size) {
  if (ftruncate(fd, static_cast<off_t>(size)) == 0) return absl::OkStatus();
  if (errno != EFBIG && errno != EINVAL) return ErrnoError(errno, absl::StrCat("size ", file));
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(file, ": the filesystem under umld's state cannot hold a file of ", size, " bytes"),
                   {"INVALID_SIZE", std::string(file), "keep umld's state on another filesystem"});
}

// As umld itself names one.
bool IsNamedByMac(const v1::Nic& nic) {
  const std::string& mac = nic.mac();
  return mac.size() == 17 &&
         nic.interface() == absl::StrCat("tap", mac.substr(6, 2), mac.substr(9, 2), mac.substr(12, 2), mac.substr(15));
}

}  // namespace

GuestImports::GuestImports(const DaemonConfig* config, GuestTable* table, Operations* operations, Guests* guests,
                           Images* images)
    : config_(config),
      table_(table),
      operations_(operations),
      guests_(guests),
      images_(images),
      drafts_(config->state_dir + "/imports", ".part", 0600) {}

void GuestImports::RemoveLeftovers() {
  drafts_.RemoveLeftovers({});
  std::set<uint64_t> ids;
  for (const GuestView& view : table_->Views()) ids.insert(view.row.id);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(config_->state_dir + "/guests", ignored)) {
    uint64_t id = 0;
    const std::string folder = entry.path().string();
    const std::string marker = folder + kMarker;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &id) || access(marker.c_str(), F_OK) != 0) continue;
    if (ids.count(id) != 0) {
      unlink(marker.c_str());
    } else if (absl::Status status = RemoveFolder(folder); !status.ok()) {
      spdlog::warn("{}", std::string(status.message()));
    }
  }
}

bool GuestImports::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kImport) return false;
  operations_->Resume(operation);
  operations_->Finish(operation,
                      MakeError(absl::StatusCode::kAborted, "umld was restarted in the middle of it; nothing is left",
                                {"INTERRUPTED", operation.target, "import it again"}));
  return true;
}

std::unique_ptr<GuestImports::Import> GuestImports::Begin(const v1::ImportGuestRequest::Options& options,
                                                          const Caller& caller) {
  return std::make_unique<Import>(this, options, caller);
}

GuestImports::Import::~Import() {
  Fail(MakeError(absl::StatusCode::kCancelled, "what was sent ended before its end",
                 {"CANCELLED", operation_.has_value() ? operation_->target : "", "send it again, whole"}))
      .IgnoreError();
}

absl::Status GuestImports::Import::Fail(const absl::Status& status) {
  if (operation_.has_value()) imports_->operations_->Finish(*operation_, status);
  operation_.reset();
  return status;
}

absl::Status GuestImports::Import::Feed(absl::string_view bytes) {
  received_ += bytes.size();
  absl::Status status = reader_.Feed(bytes);
  if (status.ok() && operation_.has_value()) {
    status = imports_->operations_->SetByteProgress(operation_->id, "receiving", received_, 0);
  }
  return status.ok() ? status : Fail(status);
}

absl::StatusOr<v1::ImportGuestResponse> GuestImports::Import::Finish(const std::function<bool()>& is_unwanted) {
  absl::Status status = reader_.Finish();
  if (status.ok()) status = Complete(is_unwanted);
  if (!status.ok()) return Fail(status);
  v1::ImportGuestResponse response;
  *response.mutable_guest() = imports_->guests_->Show(guest_);
  response.mutable_notes()->Add(notes_.begin(), notes_.end());
  return response;
}

// ---------------------------------------------------------------- what arrives

// All that can be known before the disks arrive is found out now.
absl::Status GuestImports::Import::TakeManifest(const v1::GuestArchive& manifest) {
  RETURN_IF_ERROR(TakeWishes(manifest));
  RETURN_IF_ERROR(TakeImages(manifest));
  RETURN_IF_ERROR(TakeDisks(manifest));
  RETURN_IF_ERROR(imports_->guests_->NewRow(request_, caller_).status());
  state::OperationRow row;
  row.verb = kImport;
  row.target = request_.guest().name();
  ASSIGN_OR_RETURN(const Operations::Begun begun, imports_->operations_->Begin(row));
  operation_ = begun.row;
  imports_->operations_->AllowCancel(begun.row.id);
  return absl::OkStatus();
}

absl::Status GuestImports::Import::TakeWishes(const v1::GuestArchive& manifest) {
  v1::Guest& guest = *request_.mutable_guest();
  guest = manifest.guest();
  absl::string_view name = options_.name().empty() ? guest.name() : options_.name();
  absl::ConsumePrefix(&name, "guests/");
  ASSIGN_OR_RETURN(const Umid umid, Umid::Parse(name));
  guest.set_name("guests/" + umid.str());
  if (imports_->table_->Find(umid.str()).ok()) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a guest \"", umid.str(), "\" already"),
                     {"GUEST_EXISTS", guest.name(), "give it another name: umlctl import FILE --name NAME"});
  }
  root_image_ = ParseImageName(guest.image()).value_or("");
  guest.clear_image();
  guest.clear_disks();
  // An archive is a stranger's word: what it may be let near to is said here.
  const bool was_relaxed = guest.confinement() == v1::RELAXED, was_trusted = guest.trust() == v1::TRUSTED;
  guest.set_confinement(options_.confinement());
  guest.set_trust(options_.trust() == v1::TRUSTED ? v1::TRUSTED : v1::UNTRUSTED);
  if (was_trusted && options_.trust() == v1::TRUST_UNSPECIFIED) {
    notes_.push_back("it was trusted where it came from, which holds there alone: --trust trusted");
  }
  if (was_relaxed && options_.confinement() == v1::CONFINEMENT_UNSPECIFIED) {
    notes_.push_back("it was not confined where it came from, which holds there alone: --confinement relaxed");
  }
  if (!guest.kernel().empty() && !imports_->guests_->CheckKernel(guest.kernel(), caller_).ok()) {
    notes_.push_back(
        absl::StrCat("its kernel ", guest.kernel(), " is not here: it follows this host's default kernel"));
    guest.clear_kernel();
  }
  // --trust trusted says that it is the word of somebody one knows.
  if (options_.trust() != v1::TRUSTED) {
    for (const std::string& taken : TakeOutAdminOnly(&guest)) {
      notes_.push_back(absl::StrCat(taken, " is left out: an archive may not ask for it, unless by --trust trusted"));
    }
  }
  if (!options_.new_macs()) return absl::OkStatus();
  for (v1::Nic& nic : *guest.mutable_nics()) {
    if (IsNamedByMac(nic)) nic.clear_interface();
    nic.clear_mac();
  }
  return absl::OkStatus();
}

absl::Status GuestImports::Import::TakeImages(const v1::GuestArchive& manifest) {
  for (const v1::ArchivedImage& image : manifest.images()) {
    Images::Arrival arrival;
    arrival.digest = image.digest();
    if (const absl::StatusOr<std::string> name = ParseImageName(image.name()); name.ok()) arrival.name = *name;
    const bool here = !image.digest().empty() && imports_->images_->FindDigest(image.digest()).ok();
    if (!here && image.file().empty()) {
      return MakeError(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("it was exported without its image ", image.name(), " (", image.digest(),
                                    "), and that is not here"),
                       {"IMAGE_MISSING", image.digest(), "import that image first, or export the guest with it"});
    }
    image_index_[image.id()] = images_.size();
    if (!here) {
      ASSIGN_OR_RETURN(arrival.draft, imports_->images_->BeginArrival());
    }
    images_.push_back(std::move(arrival));
  }
  return absl::OkStatus();
}

absl::Status GuestImports::Import::TakeDisks(const v1::GuestArchive& manifest) {
  for (const v1::ArchivedDisk& archived : manifest.disks()) {
    Disk disk;
    ASSIGN_OR_RETURN(disk.spec.unit, devices::ParseDiskName(archived.device()));
    if (devices::DiskName(disk.spec.unit) != archived.device()) return BadArchive("names a disk wrongly");
    disk.spec.flags = archived.flags();
    disk.spec.serial = archived.serial();
    disk.spec.path = "/DISK";
    if (!archived.image().empty()) disk.spec.backing = "/IMAGE";
    RETURN_IF_ERROR(devices::CheckDiskSpec(disk.spec));
    // Its guest can write a COW header to it, and the size of the file that this names is then looked up by umld.
    if (disk.spec.backing.empty() && absl::StrContains(disk.spec.flags, 'd')) {
      RETURN_IF_ERROR(NeedsAdmin(caller_, absl::StrCat("a disk with the flag d (", archived.device(), ")")));
    }
    disk.image = archived.image();
    disk.folder_name = absl::StrCat(archived.device(), disk.image.empty() ? ".img" : ".cow");
    ASSIGN_OR_RETURN(disk.draft, imports_->drafts_.Begin());
    disks_.push_back(std::move(disk));
  }
  return absl::OkStatus();
}

absl::Status GuestImports::Import::BeginFile(const std::string& file, uint64_t size) {
  absl::string_view id = file;
  current_ = -1;
  if (absl::ConsumePrefix(&id, "images/")) {
    const Images::Arrival& arrival = images_[image_index_.at(std::string(id))];
    if (!arrival.draft.has_value()) return absl::OkStatus();
    current_ = arrival.draft->fd();
  } else {
    absl::ConsumePrefix(&id, "disks/");
    for (const Disk& disk : disks_) {
      if (devices::DiskName(disk.spec.unit) == id) current_ = disk.draft.fd();
    }
  }
  return SetSize(current_, file, size);
}

absl::Status GuestImports::Import::Write(uint64_t offset, absl::string_view bytes) {
  if (current_ >= 0) RETURN_IF_ERROR(CheckDiskRoom(*imports_->config_, current_));
  while (current_ >= 0 && !bytes.empty()) {
    const ssize_t written = pwrite(current_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, "keep what is sent");
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status GuestImports::Import::EndFile() { return absl::OkStatus(); }

// ---------------------------------------------------------------- the end

absl::Status GuestImports::Import::CheckCow(const Disk& disk, const state::ImageRow& image) const {
  const std::string device = devices::DiskName(disk.spec.unit);
  std::string start(devices::kCowHeaderBytes, '\0');
  struct stat info = {};
  if (pread(disk.draft.fd(), start.data(), start.size(), 0) < 0 || fstat(disk.draft.fd(), &info) != 0) {
    return ErrnoError(errno, absl::StrCat("read ", device));
  }
  absl::StatusOr<std::optional<devices::CowHeader>> header = devices::ParseCowHeader(start);
  if (!header.ok()) return Annotate(header.status(), absl::StrCat("disk ", device));
  if (!header->has_value()) return BadArchive(absl::StrCat("calls ", device, " a COW file, which it is not"));
  const devices::CowLayout layout = devices::LayOutCow(**header);
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if ((*header)->size != image.size_bytes || size < layout.bitmap_offset + layout.bitmap_bytes) {
    return BadArchive(absl::StrCat("has a COW file ", device, " that does not fit its image"));
  }
  // Path and time as they are on this host; the content is the same.
  return Annotate(devices::RebaseCow(disk.draft.path(), image.path, /*same_content=*/true),
                  absl::StrCat("disk ", device));
}

// In the transaction: files get their places, marked as those of a guest that is not committed yet.
absl::Status GuestImports::Import::Place(state::GuestRow* row) {
  const std::string folder = imports_->config_->GuestStateDir(row->id);
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  placed_ = folder;
  RETURN_IF_ERROR(WriteFileDurably(folder + kMarker, "", 0600));
  RETURN_IF_ERROR(SyncFolder(imports_->config_->state_dir + "/guests"));
  RETURN_IF_ERROR(SyncFolder(imports_->config_->state_dir));
  for (const Disk& disk : disks_) {
    state::DiskRow placed;
    placed.unit = disk.spec.unit;
    placed.flags = disk.spec.flags;
    placed.serial = disk.spec.serial;
    placed.path = absl::StrCat(folder, "/", disk.folder_name);
    placed.managed = true;
    if (!disk.image.empty()) {
      const state::ImageRow& image = images_[image_index_.at(disk.image)].row;
      placed.backing = image.path;
      if (disk.spec.unit == 0) {
        row->image_digest = image.digest;
        row->image = root_image_.empty() ? image.digest : root_image_;
      }
    }
    if (renameat2(AT_FDCWD, disk.draft.path().c_str(), AT_FDCWD, placed.path.c_str(), RENAME_NOREPLACE) != 0) {
      return ErrnoError(errno, absl::StrCat("create ", placed.path));
    }
    row->disks.push_back(placed);
  }
  std::sort(row->disks.begin(), row->disks.end(), [](const auto& a, const auto& b) { return a.unit < b.unit; });
  return SyncFolder(folder);
}

absl::Status GuestImports::Import::Complete(const std::function<bool()>& is_unwanted) {
  Operations* const operations = imports_->operations_;
  operations->SetProgress(operation_->id, 90, "writing it to the disk");
  for (const Disk& disk : disks_) {
    if (fsync(disk.draft.fd()) != 0) return ErrnoError(errno, "keep what was sent");
  }
  const ByteProgress progress = [&](uint64_t done, uint64_t total) -> absl::Status {
    if (is_unwanted()) {
      return MakeError(absl::StatusCode::kCancelled, "whoever sent it went away",
                       {"CANCELLED", operation_->target, "send it again"});
    }
    return operations->SetByteProgress(operation_->id, "reading an image once more for its digest", done, total);
  };
  state::OperationRow done = Operations::Outcome(*operation_, absl::OkStatus());
  absl::Status status =
      imports_->images_->TakeIn(&images_, progress, [&](const Images::InTransaction& insert_images) -> absl::Status {
        for (const Disk& disk : disks_) {
          if (!disk.image.empty()) RETURN_IF_ERROR(CheckCow(disk, images_[image_index_.at(disk.image)].row));
        }
        // Once more: others have made guests meanwhile.
        ASSIGN_OR_RETURN(const state::GuestRow row, imports_->guests_->NewRow(request_, caller_));
        const auto complete = [&](state::GuestRow& inserted, state::Transaction& transaction) -> absl::Status {
          RETURN_IF_ERROR(insert_images(transaction));
          return Place(&inserted);
        };
        const auto undo = [&] {
          if (!placed_.empty()) RemoveFolder(placed_).IgnoreError();
        };
        ASSIGN_OR_RETURN(guest_, imports_->table_->Insert(row, complete, &done, undo));
        return absl::OkStatus();
      });
  RETURN_IF_ERROR(status);
  unlink((placed_ + kMarker).c_str());
  operation_.reset();
  for (const Images::Arrival& arrival : images_) {
    if (arrival.is_new && !arrival.name.empty() && arrival.row.names.empty()) {
      notes_.push_back(absl::StrCat("its image has no name here: \"", arrival.name,
                                    "\" is another one (umlctl image tag ", arrival.row.digest.substr(0, 19),
                                    " NAME)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace umld
