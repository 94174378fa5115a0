#include "base/byte_size.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr absl::string_view kUnits = "KMGTPE";

absl::Status Invalid(absl::string_view text, absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", text, "\" is not a size: ", why),
                   {"INVALID_SIZE", "", "write a number and a unit: 512K, 256M, 10G"});
}

}  // namespace

absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) ++digits;
  absl::string_view number = text.substr(0, digits);
  std::string unit = absl::AsciiStrToUpper(text.substr(digits));
  if (number.empty()) return Invalid(text, "it does not begin with a number");
  uint64_t factor = 1;
  if (!unit.empty() && unit != "B") {
    size_t power = kUnits.find(unit[0]);
    absl::string_view rest = absl::string_view(unit).substr(1);
    if (power == absl::string_view::npos || (!rest.empty() && rest != "B" && rest != "IB")) {
      return Invalid(text, "unknown unit");
    }
    factor = uint64_t{1} << (10 * (power + 1));
  }
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (uint64_t whole = 0; absl::SimpleAtoi(number, &whole)) {
    if (whole > kMax / factor) return Invalid(text, "it is too large");
    return whole * factor;
  }
  double value = 0;
  if (number.find('.') == absl::string_view::npos || factor == 1 || !absl::SimpleAtod(number, &value)) {
    return Invalid(text, number.find('.') == absl::string_view::npos ? "it is too large" : "not a number");
  }
  double bytes = value * static_cast<double>(factor);
  if (bytes >= static_cast<double>(kMax)) return Invalid(text, "it is too large");
  return static_cast<uint64_t>(std::llround(bytes));
}

std::string FormatByteSize(uint64_t bytes) {
  if (bytes == 0) return "0";
  size_t power = 0;
  while (power < kUnits.size() && bytes % 1024 == 0) {
    bytes /= 1024;
    ++power;
  }
  return power == 0 ? absl::StrCat(bytes) : absl::StrCat(bytes, kUnits.substr(power - 1, 1));
}

std::string HumanByteSize(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  size_t power = 0;
  while (value >= 1023.95 && power < kUnits.size()) {
    value /= 1024;
    ++power;
  }
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), value == std::floor(value) ? "%.0f %ciB" : "%.1f %ciB", value,
                kUnits[power - 1]);
  return buffer;
}

}  // namespace umld
