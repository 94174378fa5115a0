#include "base/umid.h"

#include <sys/random.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view why) {
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("\"", absl::CHexEscape(text.substr(0, 80)), "\" is not a guest name: ", why),
      {"INVALID_NAME", "", "use 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit"});
}

}  // namespace

absl::StatusOr<Umid> Umid::Parse(absl::string_view text) {
  if (text.empty()) return Invalid(text, "it is empty");
  if (text.size() > kMaxLength)
    return Invalid(text, absl::StrCat("it has ", text.size(), " characters, 64 is the most"));
  if (text[0] == '.' || text[0] == '-') return Invalid(text, absl::StrCat("it begins with '", text.substr(0, 1), "'"));
  for (char c : text) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.') {
      return Invalid(text, absl::StrCat("it contains '", absl::CHexEscape(std::string(1, c)), "'"));
    }
  }
  return Umid(std::string(text));
}

Umid Umid::Random() {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  unsigned char bytes[8];
  while (getrandom(bytes, sizeof(bytes), 0) != static_cast<ssize_t>(sizeof(bytes))) {
  }
  std::string text = "guest-";
  for (unsigned char byte : bytes) text += kAlphabet[byte % 32];
  return Umid(std::move(text));
}

}  // namespace umld
