#ifndef UMLD_DEVICES_DEVICE_KIND_H_
#define UMLD_DEVICES_DEVICE_KIND_H_

#include "absl/strings/string_view.h"

namespace umld::devices {

enum class DeviceKind {
  kUnknown,
  kDisk,     // ubdb, ubd1
  kConsole,  // con1, ssl0
  kNic,      // eth0, vec0
  kMemory,   // mem
};

// Whose parser is to read a device's name ("ubdb") or spec ("ubdb=/srv/swap"): goes by the first three letters alone,
// so that the parser can say what is wrong with the rest. Pure.
DeviceKind KindOfDevice(absl::string_view text);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DEVICE_KIND_H_
