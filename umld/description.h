#ifndef UMLD_UMLD_DESCRIPTION_H_
#define UMLD_UMLD_DESCRIPTION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace umld {

// What people note down about a guest, a snapshot, an image, a volume or a kernel: at most 4,096 bytes.
// kInvalidArgument INVALID_DESCRIPTION of `subject`. Pure.
absl::Status CheckDescription(absl::string_view description, const std::string& subject);

}  // namespace umld

#endif  // UMLD_UMLD_DESCRIPTION_H_
