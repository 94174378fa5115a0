#ifndef UMLD_VMCORE_LOG_H_
#define UMLD_VMCORE_LOG_H_

#include <string>

#include "absl/strings/string_view.h"

namespace umld::vmcore {

// One line on stderr, with the time and the guest's name: "2026-07-04T12:00:00.123Z web1: started kernel 4711".
// For what an administrator would want to read afterwards; never once per byte, packet or request.
void Log(absl::string_view message);

// The name in every line from now on.
void SetLogName(std::string name);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_LOG_H_
