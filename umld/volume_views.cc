// What is known of volumes: the rows, what their files are now, and who has them.
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "google/protobuf/util/time_util.h"
#include "umld/vmcore_wire.h"
#include "umld/volume_content.h"
#include "umld/volumes.h"

namespace umld {
namespace {

constexpr size_t kDefaultPage = 100, kMaxPage = 1000;

}  // namespace

std::vector<Volumes::Attachment> Volumes::AttachmentsOf(const std::string& name) const {
  const std::string path = catalog_->PathOf(name);
  std::vector<Attachment> attachments;
  for (const GuestView& view : table_->Views()) {
    std::vector<state::DiskRow> disks = view.row.disks;
    if (view.alive) {
      for (const vmcore::v1::Disk& live : view.facts.live_disks()) disks.push_back(FromVmcoreDisk(live));
    }
    for (const state::DiskRow& disk : disks) {
      if (disk.path == path || disk.backing == path) attachments.push_back({view, disk});
    }
  }
  return attachments;
}

v1::Volume Volumes::Show(const state::VolumeRow& row) const {
  v1::Volume volume;
  volume.set_name("volumes/" + row.name);
  volume.set_path(catalog_->PathOf(row.name));
  volume.set_description(row.description);
  *volume.mutable_create_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(row.created_ns);
  std::set<std::string> guests;
  for (const Attachment& attachment : AttachmentsOf(row.name)) guests.insert(attachment.guest.row.name);
  for (const std::string& guest : guests) volume.add_guests(guest);
  const UniqueFd fd = OpenVolumeFile(volume.path());
  struct stat info = {};
  if (!fd.ok() || fstat(fd.get(), &info) != 0) {
    volume.set_problem(std::string(ErrnoError(errno, absl::StrCat("open ", volume.path())).message()));
    return volume;
  }
  volume.set_size_bytes(static_cast<uint64_t>(info.st_size));
  volume.set_allocated_bytes(static_cast<uint64_t>(info.st_blocks) * 512);
  volume.set_format(DetectVolumeFormat(fd.get()));
  return volume;
}

absl::StatusOr<v1::VolumeSpace> Volumes::Space(const std::vector<state::VolumeRow>& rows) const {
  v1::VolumeSpace space;
  uint64_t missing = 0;
  for (const state::VolumeRow& row : rows) {
    struct stat info = {};
    if (stat(catalog_->PathOf(row.name).c_str(), &info) != 0) continue;
    const uint64_t size = static_cast<uint64_t>(info.st_size), has = static_cast<uint64_t>(info.st_blocks) * 512;
    space.set_promised_bytes(space.promised_bytes() + size);
    space.set_allocated_bytes(space.allocated_bytes() + has);
    missing += size > has ? size - has : 0;
  }
  struct statvfs host = {};
  if (statvfs(catalog_->folder().c_str(), &host) != 0) {
    if (errno == ENOENT) return space;
    return ErrnoError(errno, catalog_->folder());
  }
  space.set_free_bytes(uint64_t{host.f_bavail} * host.f_frsize);
  if (missing > space.free_bytes()) {
    space.set_warning(absl::StrCat("the volumes may come to take ", HumanByteSize(missing),
                                   " more than they do, and the disk under ", catalog_->folder(), " has ",
                                   HumanByteSize(space.free_bytes()),
                                   " left; guests are paused before it is full (umld --disk-reserve)"));
  }
  return space;
}

absl::StatusOr<v1::ListVolumesResponse> Volumes::List(const v1::ListVolumesRequest& request) {
  std::string after;
  if (!request.page_token().empty() && !absl::WebSafeBase64Unescape(request.page_token(), &after)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the page token is not one of ours",
                     {"INVALID_PAGE_TOKEN", "", "begin again without it"});
  }
  const size_t size = request.page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page_size(), kMaxPage);
  ASSIGN_OR_RETURN(const std::vector<state::VolumeRow> rows, store_->LoadVolumes());
  v1::ListVolumesResponse response;
  ASSIGN_OR_RETURN(*response.mutable_space(), Space(rows));
  for (const state::VolumeRow& row : rows) {
    if (!after.empty() && row.name <= after) continue;
    if (static_cast<size_t>(response.volumes_size()) == size) {
      const std::string& last = response.volumes(response.volumes_size() - 1).name();
      response.set_next_page_token(absl::WebSafeBase64Escape(last.substr(last.find('/') + 1)));
      break;
    }
    *response.add_volumes() = Show(row);
  }
  return response;
}

absl::StatusOr<v1::Volume> Volumes::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const state::VolumeRow row, Find(name));
  return Show(row);
}

}  // namespace umld
