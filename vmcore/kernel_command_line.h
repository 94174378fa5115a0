#ifndef UMLD_VMCORE_KERNEL_COMMAND_LINE_H_
#define UMLD_VMCORE_KERNEL_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The umid that the kernel is given: UML's limit is 63 characters, a guest's name may have one more.
std::string KernelUmid(const v1::GuestConfig& config);

// "kernel/uml/UMID/mconsole".
std::string MconsoleSocketPath(const v1::GuestConfig& config);

// argv of the kernel process; argv[0] is the kernel binary's path. `kernel_args` come last, so that they win over ours.
// kInvalidArgument: no name, no kernel, memory out of range, a disk, console or interface that is no valid spec, two
// on one unit, or longer than a kernel's command line can be. Pure.
absl::StatusOr<std::vector<std::string>> KernelArguments(const v1::GuestConfig& config);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_KERNEL_COMMAND_LINE_H_
