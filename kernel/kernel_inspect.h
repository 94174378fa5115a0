#ifndef UMLD_KERNEL_KERNEL_INSPECT_H_
#define UMLD_KERNEL_KERNEL_INSPECT_H_

#include <string>

#include "absl/status/status.h"

namespace umld::kernel {

// Whether the file is a UML kernel that this process's user may run, told without running it: an executable ELF file
// for this machine with the section .uml.setup.init, which no other program has. `path` is absolute.
// Blocks on the disk, never on a FIFO or a device. kNotFound, kPermissionDenied, kInvalidArgument (not a UML kernel).
absl::Status InspectKernel(const std::string& path);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_INSPECT_H_
