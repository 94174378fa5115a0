#ifndef UMLD_VMCORE_CONSOLE_LAYOUT_H_
#define UMLD_VMCORE_CONSOLE_LAYOUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "devices/console/console_spec.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// Which lines a guest has, and what its kernel is told of them. The kernel never learns where a console goes: it gets a
// terminal (`con3=fd:5`), null or none, and vmcore does the rest. All of these are pure.

// The lines of a configuration that are not null, con0 first, then consoles and serial lines by number. con0 is always
// among them, for the kernel's messages. kInvalidArgument: a spec that cannot be read, a line named twice, con0=none.
absl::StatusOr<std::vector<devices::ConsoleSpec>> ConsoleLines(const v1::GuestConfig& config);

// The kernel gets a terminal for it: it is neither none nor, but for con0, null in both directions.
bool HasTerminal(const devices::ConsoleSpec& spec);
bool IsNone(const devices::ConsoleSpec& spec);
// What a line is that nobody has said a word about.
devices::ConsoleSpec NullLine(const devices::ConsoleDevice& device);

// The descriptor at which the kernel's process finds its `index`th terminal. The first is con0's, and the kernel's
// stdout and stderr are the same.
int TerminalFd(size_t index);

// "con0=fd:0", "con2=none", ..., "con=null", "ssl=null": the terminals numbered in the order of `lines`.
std::vector<std::string> ConsoleArguments(const std::vector<devices::ConsoleSpec>& lines);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CONSOLE_LAYOUT_H_
