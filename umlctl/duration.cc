#include "umlctl/duration.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::umlctl {

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  uint32_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration) || duration == absl::InfiniteDuration()) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", text, "\" is not a duration"),
                     {"INVALID_DURATION", "", "write a number and a unit: 500ms, 10s, 2m, 1h30m"});
  }
  if (duration < absl::ZeroDuration()) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", text, "\" is a negative duration"),
                     {"INVALID_DURATION", "", "write a number and a unit: 500ms, 10s, 2m, 1h30m"});
  }
  return duration;
}

std::string HumanDuration(absl::Duration duration) {
  const int64_t seconds = duration < absl::ZeroDuration() ? 0 : absl::ToInt64Seconds(duration);
  const int64_t minutes = seconds / 60;
  const int64_t hours = minutes / 60;
  if (hours >= 24) return absl::StrCat(hours / 24, "d", hours % 24, "h");
  if (hours > 0) return absl::StrCat(hours, "h", minutes % 60, "m");
  if (minutes > 0) return absl::StrCat(minutes, "m", seconds % 60, "s");
  return absl::StrCat(seconds, "s");
}

}  // namespace umld::umlctl
