#ifndef UMLD_DEVICES_CONSOLE_PRINTABLE_H_
#define UMLD_DEVICES_CONSOLE_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace umld::devices {

inline constexpr size_t kMaxPrintableLine = 512;  // bytes

// The last `n` lines of what a terminal was sent, fit to be shown anywhere: a guest decides over these bytes, so escape
// sequences and control characters are dropped and broken UTF-8 becomes '?'. Empty lines are left out; long ones are
// cut. Pure.
std::vector<std::string> LastPrintableLines(absl::string_view text, size_t n);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_PRINTABLE_H_
