#include "vmcore/kernel_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/disk/cow.h"
#include "vmcore/disk_message.h"

namespace umld::vmcore {
namespace {

absl::Status Link(const std::string& target, const std::string& link) {
  unlink(link.c_str());
  if (symlink(target.c_str(), link.c_str()) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("make the link ", link));
}

absl::Status Prepare(const v1::Disk& disk, devices::DiskFile file, Jail* jail, bool* created_cow) {
  const devices::DiskSpec spec = FromMessage(disk);
  const std::optional<Credentials> opener = OpenerOf(disk);
  if (HasLongPaths(spec)) {
    RETURN_IF_ERROR(Link(spec.path, DiskLink(spec.unit)));
    if (!spec.backing.empty()) RETURN_IF_ERROR(Link(spec.backing, BackingLink(spec.unit)));
    // A header that names a file which has been moved away: the kernel would put the link's name there.
    struct stat info = {};
    if (!file.header_backing.empty() && file.writable &&
        fstatat(AT_FDCWD, file.header_backing.c_str(), &info, AT_NO_AUTOMOUNT) != 0) {
      RETURN_IF_ERROR(ActAs(opener, [&] { return devices::SetCowBacking(spec.path, spec.backing); }));
    }
  }
  if (file.create_cow) {
    RETURN_IF_ERROR(ActAs(opener, [&] { return devices::CreateCow(spec.path, spec.backing); }));
    *created_cow = true;
    ASSIGN_OR_RETURN(file, Inspect(disk));
  }
  if (jail == nullptr) return absl::OkStatus();
  const bool read_only = !file.writable || absl::StrContains(spec.flags, 'r');
  if (!read_only) RETURN_IF_ERROR(jail->AllowFileSize(file.file_bytes));
  const std::string key = devices::DiskName(spec.unit);
  RETURN_IF_ERROR(jail->Show(key, spec.path, read_only ? Jail::Access::kReadOnly : Jail::Access::kReadWrite,
                             Jail::Checked{opener, file.path}));
  if (!file.backing.has_value()) return absl::OkStatus();
  return jail->Show(key, spec.backing, Jail::Access::kReadOnly, Jail::Checked{opener, *file.backing});
}

}  // namespace

absl::Status PrepareKernelDisk(const v1::Disk& disk, const devices::DiskFile& file, Jail* jail, bool* created_cow) {
  *created_cow = false;
  absl::Status prepared = Prepare(disk, file, jail, created_cow);
  if (prepared.ok()) return prepared;
  ForgetKernelDisk(disk.unit(), jail);
  if (std::exchange(*created_cow, false)) RemoveCow(disk);
  return prepared;
}

void RemoveCow(const v1::Disk& disk) {
  ActAs(OpenerOf(disk), [&] {
    return unlink(disk.path().c_str()) == 0 ? absl::OkStatus() : ErrnoError(errno, disk.path());
  }).IgnoreError();
}

void ForgetKernelDisk(uint32_t unit, Jail* jail) {
  if (jail != nullptr) jail->Hide(devices::DiskName(unit));
  unlink(DiskLink(unit).c_str());
  unlink(BackingLink(unit).c_str());
}

}  // namespace umld::vmcore
