#include "devices/memory/memory_spec.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/status.h"

namespace umld::devices {
namespace {

absl::Status Invalid(absl::string_view spelling, absl::string_view reason) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("mem=", spelling, ": ", reason),
                   {"INVALID_MEMORY", "", "256M suits most guests"});
}

absl::Status CheckAs(uint64_t bytes, absl::string_view spelling) {
  if (bytes < kMinMemory) {
    return Invalid(spelling, absl::StrCat("a UML kernel needs at least ", FormatByteSize(kMinMemory)));
  }
  if (bytes > kMaxMemory) {
    return Invalid(spelling, absl::StrCat("a guest gets at most ", FormatByteSize(kMaxMemory)));
  }
  if (bytes % kMemoryStep != 0) {
    return Invalid(spelling, absl::StrCat("it is not a multiple of a page (", kMemoryStep, " bytes)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> ParseMemory(absl::string_view text) {
  auto bytes = ParseByteSize(text);
  std::string spelling = absl::CHexEscape(text.substr(0, 40));
  if (!bytes.ok()) return Invalid(spelling, bytes.status().message());
  RETURN_IF_ERROR(CheckAs(*bytes, spelling));
  return *bytes;
}

absl::Status CheckMemory(uint64_t bytes) { return CheckAs(bytes, FormatByteSize(bytes)); }

absl::StatusOr<int64_t> ParseMemoryChange(absl::string_view text) {
  constexpr char kHint[] = "write mem=-64M to take, mem=+64M to give back what was taken";
  auto invalid = [text](absl::string_view reason, absl::string_view hint) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("\"", absl::CHexEscape(text.substr(0, 40)), "\" is no change of memory: ", reason),
                     {"INVALID_MEMORY_CHANGE", "", std::string(hint)});
  };
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, "mem=")) return invalid("it does not begin with \"mem=\"", kHint);
  const bool take = absl::StartsWith(rest, "-");
  if (!take && !absl::StartsWith(rest, "+")) {
    return invalid("a running guest's memory changes by a difference, and the sign is missing",
                   absl::StrCat(kHint, "; `umlctl set NAME --mem SIZE` is for its next boot"));
  }
  auto bytes = ParseByteSize(rest.substr(1));
  if (!bytes.ok()) return invalid(bytes.status().message(), kHint);
  if (*bytes == 0 || *bytes % kMemoryStep != 0 || *bytes > kMaxMemory) {
    return invalid(
        absl::StrCat("it is not a number of pages (", kMemoryStep, " bytes each) up to ", FormatByteSize(kMaxMemory)),
        kHint);
  }
  const auto change = static_cast<int64_t>(*bytes);
  return take ? -change : change;
}

// The kernel's memparse knows K, M and G as powers of 1024, but no fractions.
std::string PrintMemoryArgument(uint64_t bytes) {
  if (bytes % (uint64_t{1} << 20) == 0) return absl::StrCat("mem=", bytes >> 20, "M");
  return absl::StrCat("mem=", bytes >> 10, "K");
}

}  // namespace umld::devices
