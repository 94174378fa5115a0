#ifndef UMLD_UMLD_CONSOLE_WISH_H_
#define UMLD_UMLD_CONSOLE_WISH_H_

#include <string>

#include "absl/strings/string_view.h"
#include "devices/console/console_spec.h"
#include "state/rows.h"
#include "umld/v1/resources.pb.h"

namespace umld {

// What a guest's row says of its consoles. A row's device is a line ("con3"), or "con" or "ssl" for all lines of the
// kind that have no row of their own; con0 and con1 are umld's own consoles without any row. All of these are pure.

// A console of umld's own: the kernel has it as its descriptors, and umlctl shows it.
inline constexpr char kOwnChannels[] = "fd:0,fd:1";

// nullptr: there is no such row.
const state::ConsoleRow* FindConsoleRow(const state::GuestRow& row, absl::string_view device);
// Replaces or adds.
void SetConsoleRow(state::GuestRow* row, const std::string& device, const std::string& channel);
// Whether a line without a row of its own would be something other than null.
bool HasConsoleDefault(const state::GuestRow& row, const devices::ConsoleDevice& device);
// What a request says of one: "con1=port:9000".
std::string ConsoleWish(const v1::Console& console);
// UML's spelling of where a line goes at the next boot.
std::string WantedConsole(const state::GuestRow& row, const devices::ConsoleDevice& device);

}  // namespace umld

#endif  // UMLD_UMLD_CONSOLE_WISH_H_
