#include "umld/disk_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/credentials.h"
#include "base/host_path.h"
#include "base/status.h"
#include "devices/disk/cow_content.h"
#include "devices/disk/open_disk.h"
#include "google/protobuf/util/time_util.h"
#include "umld/host_file.h"
#include "umld/image_name.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

using google::protobuf::util::TimeUtil;

// By what it is, not by its name.
bool IsSameFile(const struct stat& info, const std::string& path) {
  struct stat other = {};
  return !path.empty() && StatHostPath(path, &other) && other.st_dev == info.st_dev && other.st_ino == info.st_ino;
}

struct Use {
  std::string guest;
  state::DiskRow disk;
  bool under = false;  // as the backing file
  bool runs = false;
  bool relaxed = false;  // it may be that its kernel is not confined
};

std::vector<Use> UsesOf(const struct stat& info, const GuestTable& table) {
  std::vector<Use> uses;
  for (const GuestView& view : table.Views()) {
    std::vector<state::DiskRow> disks = view.row.disks;
    if (view.alive) {
      for (const vmcore::v1::Disk& live : view.facts.live_disks()) disks.push_back(FromVmcoreDisk(live));
    }
    for (const state::DiskRow& disk : disks) {
      if (IsSameFile(info, disk.path)) {
        uses.push_back({view.row.name, disk, false, view.alive, view.may_be_relaxed()});
      } else if (IsSameFile(info, disk.backing)) {
        uses.push_back({view.row.name, disk, true, view.alive, view.may_be_relaxed()});
      }
    }
  }
  return uses;
}

// How a file is reached: one that umld made is a guest's, by the path that umld knows; any other is whoever's asks for
// it.
struct Reach {
  std::string path;
  std::optional<Credentials> user;
  std::string backing;  // as umld knows it
};

Reach ReachOf(const std::string& path, const Caller& caller, const std::vector<Use>& uses) {
  Reach reach{path, caller.user, ""};
  for (const Use& use : uses) {
    if (use.under) continue;
    reach.backing = use.disk.backing;
    if (!use.disk.managed) continue;
    return Reach{use.disk.path, std::nullopt, use.disk.backing};
  }
  return reach;
}

absl::StatusOr<std::vector<Use>> FindUses(const std::string& path, const GuestTable& table) {
  RETURN_IF_ERROR(CheckHostPath(path));
  struct stat info = {};
  // What cannot be found is told by the caller's own look at it.
  if (!StatHostPath(path, &info)) return std::vector<Use>();
  return UsesOf(info, table);
}

absl::StatusOr<devices::OpenDisk> OpenAs(const std::optional<Credentials>& user, const std::string& path) {
  return ActAs(user, [&] { return devices::OpenDiskFile(path, devices::DiskAccess::kRead, /*shared=*/true); });
}

// Whether the caller may work on a disk's content: no guest runs on it, and what umld opens for a guest that is not
// confined is as precious as what it opens for itself.
absl::Status CheckMayWorkOn(const std::vector<Use>& uses, const std::string& path, const Caller& caller) {
  for (const Use& use : uses) {
    if (!use.runs || use.under) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat(path, " is in use by guest ", use.guest, ", which runs"),
                     {"DISK_IN_USE", path, absl::StrCat("`umlctl stop ", use.guest, "` first")});
  }
  for (const Use& use : uses) {
    if (!use.relaxed || use.under) continue;
    RETURN_IF_ERROR(
        Annotate(NeedsAdmin(caller, "a disk of a guest that is not confined"), absl::StrCat("guest ", use.guest)));
  }
  return absl::OkStatus();
}

// Their groups may have changed since.
bool SameUser(const std::optional<Credentials>& one, const std::optional<Credentials>& other) {
  return one.has_value() == other.has_value() && (!one.has_value() || one->uid == other->uid);
}

std::string Problem(const devices::CowHeader& header) {
  struct stat info = {};
  if (!StatHostPath(header.backing, &info)) {
    return absl::StrCat(header.backing, errno == ENOENT ? " is not there" : " cannot be reached",
                        ": `umlctl disk rebase` says where it is now");
  }
  absl::StatusOr<devices::CowHeader> now = devices::NewCowHeader(header.backing);
  if (!now.ok()) return std::string(now.status().message());
  if (now->size != header.size) {
    return absl::StrCat(header.backing, " has ", now->size, " bytes, and had ", header.size);
  }
  if (now->mtime != header.mtime) {
    return absl::StrCat(header.backing, " was modified: `umlctl disk rebase --same-content` if it is the same");
  }
  return "";
}

absl::StatusOr<std::optional<devices::CowHeader>> ReadHeader(const devices::OpenDisk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string start, devices::ReadStart(disk, path, devices::kCowHeaderBytes));
  auto header = devices::ParseCowHeader(start);
  if (!header.ok()) return Annotate(header.status(), path);
  return header;
}

absl::Status NoCow(const std::string& path) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is no COW file"),
                   {"COW_INVALID", path, "give a COW file"});
}

absl::Status BackingUnknown(const std::string& path, const devices::CowHeader& header) {
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat(path, " is no guest's disk, and what its header says of its backing file is not believed"),
      {"BACKING_UNKNOWN", path, absl::StrCat("say so, if it is true: --backing ", header.backing)});
}

absl::Status BackingDiffers(const std::string& backing, const std::string& path) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(backing, " is not as it was when ", path, " was made over it"),
                   {"BACKING_DIFFERS", backing, absl::StrCat("`umlctl disk info ", path, "` says more")});
}

}  // namespace

absl::StatusOr<v1::DiskFile> DescribeDiskFile(const std::string& path, const Caller& caller, const GuestTable& table) {
  ASSIGN_OR_RETURN(const std::vector<Use> uses, FindUses(path, table));
  const Reach reach = ReachOf(path, caller, uses);
  ASSIGN_OR_RETURN(const devices::OpenDisk disk, OpenAs(reach.user, reach.path));
  v1::DiskFile file;
  file.set_path(path);
  file.set_size_bytes(disk.size_bytes);
  file.set_allocated_bytes(static_cast<uint64_t>(disk.info.st_blocks) * 512);
  std::set<std::string> guests;
  for (const Use& use : uses) guests.insert(use.guest);
  for (const std::string& guest : guests) file.add_guests(guest);
  ASSIGN_OR_RETURN(const auto header, ReadHeader(disk, path));
  if (!header.has_value()) return file;
  const devices::CowLayout layout = devices::LayOutCow(*header);
  v1::CowFile* const cow = file.mutable_cow();
  cow->set_backing(header->backing);
  cow->set_backing_bytes(header->size);
  *cow->mutable_backing_time() = TimeUtil::SecondsToTimestamp(header->mtime);
  cow->set_alignment(header->alignment);
  cow->set_bitmap_offset(layout.bitmap_offset);
  cow->set_bitmap_bytes(layout.bitmap_bytes);
  cow->set_data_offset(layout.data_offset);
  absl::StatusOr<uint64_t> sectors = devices::CountCowSectors(disk.fd.get(), *header);
  if (!sectors.ok()) return Annotate(sectors.status(), path);
  cow->set_written_bytes(*sectors * 512);
  // Of a guest's disk the header is the guest's word: only what umld knows is looked at.
  const bool believed = reach.user.has_value() || uses.empty() || reach.backing == header->backing;
  ASSIGN_OR_RETURN(std::string problem, ActAs(reach.user, [&]() -> absl::StatusOr<std::string> {
                     if (!believed) return absl::StrCat("umld knows it over ", reach.backing);
                     return Problem(*header);
                   }));
  cow->set_problem(std::move(problem));
  return file;
}

namespace {

// At every later start the new backing file is opened by whoever opens the disk, and not by the caller.
absl::Status CheckMayRebase(const std::vector<Use>& uses, const std::string& backing, const Caller& caller,
                            const std::vector<state::ImageRow>& images) {
  for (const Use& use : uses) {
    if (use.under) continue;
    const std::string noun = absl::StrCat("guest ", use.guest);
    if (SameUser(use.disk.opener, caller.user) || ImageInFile(images, backing) != nullptr) continue;
    RETURN_IF_ERROR(
        Annotate(NeedsAdmin(caller, "a file that is no image under a disk that umld, or another user, opens"), noun));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::DiskFile> RebaseDiskFile(const v1::RebaseDiskFileRequest& request, const Caller& caller,
                                            const std::vector<state::ImageRow>& images, GuestTable* table) {
  RETURN_IF_ERROR(CheckHostPath(request.backing()));
  ASSIGN_OR_RETURN(const std::vector<Use> uses, FindUses(request.path(), *table));
  RETURN_IF_ERROR(CheckMayRebase(uses, request.backing(), caller, images));
  RETURN_IF_ERROR(CheckMayWorkOn(uses, request.path(), caller));
  const Reach reach = ReachOf(request.path(), caller, uses);
  // A guest will read it. Images are there for all.
  const std::optional<Credentials> reader =
      ImageInFile(images, request.backing()) == nullptr ? caller.user : std::nullopt;
  RETURN_IF_ERROR(OpenAs(reader, request.backing()).status());
  RETURN_IF_ERROR(
      ActAs(reach.user, [&] { return devices::RebaseCow(reach.path, request.backing(), request.same_content()); }));
  for (const Use& use : uses) {
    if (use.under) continue;
    ASSIGN_OR_RETURN(const GuestPtr guest, table->Find(use.guest));
    GuestTable::Change change;
    change.edit = [&](state::GuestRow& row) {
      for (state::DiskRow& disk : row.disks) {
        if (disk.unit == use.disk.unit && disk.path == use.disk.path) disk.backing = request.backing();
      }
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(Annotate(table->Commit(guest, change), absl::StrCat("guest ", use.guest)));
  }
  return DescribeDiskFile(request.path(), caller, *table);
}

absl::StatusOr<OpenCow> OpenCowFile(const std::string& path, const std::string& backing, const Caller& caller,
                                    const GuestTable& table) {
  ASSIGN_OR_RETURN(const std::vector<Use> uses, FindUses(path, table));
  RETURN_IF_ERROR(CheckMayWorkOn(uses, path, caller));
  const Reach reach = ReachOf(path, caller, uses);
  ASSIGN_OR_RETURN(devices::OpenDisk cow, OpenAs(reach.user, reach.path));
  ASSIGN_OR_RETURN(const auto header, ReadHeader(cow, path));
  if (!header.has_value()) return NoCow(path);
  OpenCow open;
  open.header = *header;
  open.backing_path = backing.empty() ? reach.backing : backing;
  if (open.backing_path.empty()) return BackingUnknown(path, *header);
  RETURN_IF_ERROR(CheckHostPath(open.backing_path));
  ASSIGN_OR_RETURN(devices::OpenDisk under, OpenAs(backing.empty() ? reach.user : caller.user, open.backing_path));
  if (under.size_bytes != header->size || under.info.st_mtime != int64_t{header->mtime}) {
    return BackingDiffers(open.backing_path, path);
  }
  open.cow = std::move(cow.fd);
  open.backing = std::move(under.fd);
  return open;
}

namespace {

absl::Status BackingShared(const std::string& path, absl::string_view why, absl::string_view way_out) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " ", why),
                   {"BACKING_SHARED", path, std::string(way_out)});
}

// Nobody but this COW file may rely on what is in its backing file.
absl::Status CheckAlone(const struct stat& info, const std::string& path, const struct stat& cow,
                        const GuestTable& table, const std::vector<state::ImageRow>& images,
                        const std::vector<state::SnapshotRow>& snapshots) {
  for (const state::ImageRow& image : images) {
    if (!IsSameFile(info, image.path)) continue;
    return BackingShared(path, "is an image, and images never change",
                         "make a new image of both: umlctl disk commit COW --image NAME");
  }
  for (const Use& use : UsesOf(info, table)) {
    if (use.under && IsSameFile(cow, use.disk.path)) continue;
    return BackingShared(path,
                         absl::StrCat("is ", use.under ? "under a disk" : "a disk", " of guest ", use.guest, " too"),
                         absl::StrCat("`umlctl unplug ", use.guest,
                                      "` that disk first, or make an image of both: "
                                      "umlctl disk commit COW --image NAME"));
  }
  for (const state::SnapshotRow& snapshot : snapshots) {
    for (const state::SnapshotDiskRow& disk : snapshot.disks) {
      if (!IsSameFile(info, disk.backing)) continue;
      return BackingShared(path, absl::StrCat("is under the snapshot ", snapshot.name),
                           "delete that snapshot first, or make an image of both: umlctl disk commit COW --image NAME");
    }
  }
  return absl::OkStatus();
}

// As UML kernels do; held as long as the file is open.
absl::Status LockFile(int fd, const std::string& path) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return absl::OkStatus();
  if (errno != EAGAIN && errno != EACCES) return ErrnoError(errno, absl::StrCat("lock ", path));
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " is locked: something runs with it"),
                   {"DISK_IN_USE", path, "stop what runs with it"});
}

absl::StatusOr<devices::OpenDisk> OpenLocked(const std::optional<Credentials>& user, const std::string& path) {
  ASSIGN_OR_RETURN(devices::OpenDisk disk, ActAs(user, [&] {
                     return devices::OpenDiskFile(path, devices::DiskAccess::kReadWrite, /*shared=*/true);
                   }));
  if (!S_ISREG(disk.info.st_mode)) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is a device, not a file"),
                     {"NOT_A_DISK", path, "copy it into a file first"});
  }
  RETURN_IF_ERROR(LockFile(disk.fd.get(), path));
  return disk;
}

}  // namespace

std::string GuestWithDisk(const std::string& path, const GuestTable& table) {
  const absl::StatusOr<std::vector<Use>> uses = FindUses(path, table);
  if (!uses.ok()) return "";
  for (const Use& use : *uses) {
    if (!use.under) return use.guest;
  }
  return "";
}

absl::StatusOr<WritableCow> OpenCowForCommit(const std::string& path, const std::string& backing, const Caller& caller,
                                             const GuestTable& table, const std::vector<state::ImageRow>& images,
                                             const std::vector<state::SnapshotRow>& snapshots, uint32_t begun_mtime) {
  ASSIGN_OR_RETURN(const std::vector<Use> uses, FindUses(path, table));
  RETURN_IF_ERROR(CheckMayWorkOn(uses, path, caller));
  const Reach reach = ReachOf(path, caller, uses);
  WritableCow open;
  open.backing_path = backing.empty() ? reach.backing : backing;
  ASSIGN_OR_RETURN(devices::OpenDisk cow, OpenLocked(reach.user, reach.path));
  ASSIGN_OR_RETURN(const auto header, ReadHeader(cow, path));
  if (!header.has_value()) return NoCow(path);
  if (open.backing_path.empty()) return BackingUnknown(path, *header);
  RETURN_IF_ERROR(CheckHostPath(open.backing_path));
  // By whom it is written to is the caller: a guest's own COW file does not make its backing file anybody's.
  struct stat under_info = {};
  if (StatHostPath(open.backing_path, &under_info)) {
    RETURN_IF_ERROR(CheckAlone(under_info, open.backing_path, cow.info, table, images, snapshots));
  }
  ASSIGN_OR_RETURN(devices::OpenDisk under, OpenLocked(caller.user, open.backing_path));
  RETURN_IF_ERROR(CheckAlone(under.info, open.backing_path, cow.info, table, images, snapshots));
  const bool same_time =
      under.info.st_mtime == int64_t{header->mtime} || (begun_mtime != 0 && begun_mtime == header->mtime);
  if (under.size_bytes != header->size || !same_time) {
    return BackingDiffers(open.backing_path, path);
  }
  open.header = *header;
  open.cow = std::move(cow.fd);
  open.backing = std::move(under.fd);
  return open;
}

}  // namespace umld
