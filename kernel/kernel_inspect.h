#ifndef UMLD_KERNEL_KERNEL_INSPECT_H_
#define UMLD_KERNEL_KERNEL_INSPECT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umld::kernel {

// Whether the file is a UML kernel that this process's user may run, told without running it: an executable ELF file
// for this machine with the section .uml.setup.init, which no other program has. `path` is absolute.
// Blocks on the disk, never on a FIFO or a device. kNotFound, kPermissionDenied, kInvalidArgument (not a UML kernel).
absl::Status InspectKernel(const std::string& path);

// What a kernel needs to be run: its program interpreter, that one's cache, and its libraries, as absolute paths; none
// for one that is linked statically. Read from the files: the interpreter itself, asked with --list, would map what the
// kernel tells it to. All are in the system's library folders and for everybody on the host to read, since its guest
// gets to see them. Blocks on the disk. kInvalidArgument: a library is missing, one of these is not the system's or not
// for everybody, or it is no program.
absl::StatusOr<std::vector<std::string>> KernelLibraries(const std::string& path);

}  // namespace umld::kernel

#endif  // UMLD_KERNEL_KERNEL_INSPECT_H_
