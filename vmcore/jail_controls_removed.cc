// For tests alone: the controls whose names are in the file "removed_controls" of umld's runtime directory are left
// out.
#include <string>

#include "base/file.h"
#include "vmcore/jail_controls.h"

namespace umld::vmcore {

bool IsRemoved(const char* control) {
  // Read at the first call, when the working directory still is the guest's: RUN/guests/ID.
  static const std::string removed = ReadFile("../../removed_controls", 4096).value_or("");
  return ("\n" + removed + "\n").find("\n" + std::string(control) + "\n") != std::string::npos;
}

}  // namespace umld::vmcore
