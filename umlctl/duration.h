#ifndef UMLD_UMLCTL_DURATION_H_
#define UMLD_UMLCTL_DURATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace umld::umlctl {

// "10s", "2m", "1h30m", "500ms"; a bare number is seconds. kInvalidArgument: anything else, negative or infinite.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// Two units at most, for people: "12s", "5m3s", "2h4m", "3d7h".
std::string HumanDuration(absl::Duration duration);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_DURATION_H_
