#ifndef UMLD_VMCORE_KERNEL_BOOT_H_
#define UMLD_VMCORE_KERNEL_BOOT_H_

#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "vmcore/mconsole_client.h"

namespace umld::vmcore {

// A kernel's mconsole answers half a second before its drivers have set up the devices of the command line, and what is
// changed in between ends badly: a disk that is configured is set up twice, one that is removed stays for good, a
// console is set back to what the command line said, or the kernel panics ("Segfault with no mm"). The end of the
// kernel's own initialisation has no notification, so it is asked for what comes after it.

// Asks whether it is over; `then` gets the answer, or the error of a question that was not answered within `deadline`
// (kCancelled: the kernel has ended). False as well for a kernel without CONFIG_PROC_FS, and for an init that has
// mounted nothing and has no console open. The question changes nothing. `then` never runs inside.
void AskWhetherBooted(MconsoleClient* mconsole, EventLoop::Clock::duration deadline,
                      std::function<void(absl::StatusOr<bool>)> then);

// Of the answer to "proc 1/mounts": pid 1 has more than the kernel's first root, which is empty.
bool ShowsMounts(absl::string_view mounts);
// Of the answer to "proc interrupts": the kernel has opened /dev/console for pid 1. Its mconsole is none.
bool ShowsOpenConsole(absl::string_view interrupts);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_KERNEL_BOOT_H_
