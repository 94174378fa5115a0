#ifndef UMLD_VMCORE_DISK_MESSAGE_H_
#define UMLD_VMCORE_DISK_MESSAGE_H_

#include "devices/disk/disk_spec.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// A disk as devices/disk knows it, from the protocol's message; unchecked. Pure.
inline devices::DiskSpec FromMessage(const v1::Disk& disk) {
  return {disk.unit(), disk.flags(), disk.path(), disk.backing(), disk.serial()};
}

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_DISK_MESSAGE_H_
