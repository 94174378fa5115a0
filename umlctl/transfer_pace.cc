#include "umlctl/transfer_pace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "umlctl/duration.h"

namespace umld::umlctl {

std::string TransferPace::Text(const std::string& what, uint64_t done, uint64_t total) const {
  const double seconds = std::max(absl::ToDoubleSeconds(absl::Now() - begun_), 0.001);
  const double pace = static_cast<double>(done) / seconds;
  const std::string speed = absl::StrCat(HumanByteSize(static_cast<uint64_t>(pace)), "/s");
  if (total == 0) return absl::StrCat(what, ", ", HumanByteSize(done), ", ", speed);
  const uint64_t left = total - std::min(done, total);
  std::string text = absl::StrCat(what, " ", (total - left) * 100 / total, "% of ", HumanByteSize(total), ", ", speed);
  if (left > 0 && seconds > 1 && done > 0) {
    const absl::Duration wait = absl::Seconds(static_cast<int64_t>(static_cast<double>(left) / pace) + 1);
    absl::StrAppend(&text, ", ", HumanDuration(wait), " left");
  }
  return text;
}

}  // namespace umld::umlctl
