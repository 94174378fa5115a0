#include "umld/description.h"

#include "base/status.h"

namespace umld {

absl::Status CheckDescription(absl::string_view description, const std::string& subject) {
  constexpr size_t kMost = 4096;
  if (description.size() <= kMost) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "the description is longer than 4,096 bytes",
                   {"INVALID_DESCRIPTION", subject, "shorten it"});
}

}  // namespace umld
