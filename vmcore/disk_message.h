#ifndef UMLD_VMCORE_DISK_MESSAGE_H_
#define UMLD_VMCORE_DISK_MESSAGE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/credentials.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_spec.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// A disk as devices/disk knows it, from the protocol's message; unchecked. Pure.
inline devices::DiskSpec FromMessage(const v1::Disk& disk) {
  return {disk.unit(), disk.flags(), disk.path(), disk.backing(), disk.serial()};
}

inline Credentials FromMessage(const v1::Credentials& user) {
  return {user.uid(), user.gid(), {user.groups().begin(), user.groups().end()}};
}

// Who opens the disk's files, or the kernel; nullopt: this process as it is. Pure.
inline std::optional<Credentials> OpenerOf(const v1::Disk& disk) {
  return disk.has_opener() ? std::optional(FromMessage(disk.opener())) : std::nullopt;
}
inline std::optional<Credentials> KernelOpenerOf(const v1::GuestConfig& config) {
  return config.has_kernel_opener() ? std::optional(FromMessage(config.kernel_opener())) : std::nullopt;
}

// The host files of a guest's disks, by unit.
inline std::vector<std::string> FilesOf(const std::map<uint32_t, v1::Disk>& disks) {
  std::vector<std::string> files;
  for (const auto& [unit, disk] : disks) {
    files.push_back(disk.path());
    if (!disk.backing().empty()) files.push_back(disk.backing());
  }
  return files;
}

// devices::InspectDisk with the permissions of the disk's opener.
inline absl::StatusOr<devices::DiskFile> Inspect(const v1::Disk& disk) {
  return ActAs(OpenerOf(disk), [&] { return devices::InspectDisk(FromMessage(disk)); });
}

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_DISK_MESSAGE_H_
