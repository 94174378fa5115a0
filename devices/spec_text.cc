#include "devices/spec_text.h"

#include <arpa/inet.h>

#include <array>
#include <climits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace umld::devices {
namespace {

// Length of the well-formed UTF-8 sequence at the start, 0 when there is none.
size_t Utf8Length(absl::string_view text) {
  auto byte = [text](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  auto continues = [&byte](size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xc2 && first < 0xe0) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    bool overlong = first == 0xe0 && byte(1) < 0xa0;
    bool surrogate = first == 0xed && byte(1) >= 0xa0;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    bool out_of_range = (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90);
    return continues(1) && continues(2) && continues(3) && !out_of_range ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<SpecFault> FindBadByte(absl::string_view text, absl::string_view what) {
  size_t i = 0;
  while (i < text.size()) {
    char c = text[i];
    if (c == ',' || c == ':') {
      return SpecFault{i, absl::StrCat("the ", what, " contains '", std::string(1, c), "'"), kSeparatorHint};
    }
    if (c == '"') {
      return SpecFault{i,
                       absl::StrCat("the ", what, " contains '\"', which the kernel's command line has no way to hold"),
                       "make a symbolic link without it and use that"};
    }
    if (absl::ascii_iscntrl(c)) {
      return SpecFault{i, absl::StrCat("the ", what, " contains the control character ", static_cast<int>(c)),
                       "rename the file, or use a symbolic link"};
    }
    size_t length = Utf8Length(text.substr(i));
    if (length == 0) {
      // The API's strings are UTF-8: such a path would be refused on its way back to the user.
      return SpecFault{i, absl::StrCat("the ", what, " is not valid UTF-8"), "rename the file, or use a symbolic link"};
    }
    i += length;
  }
  return std::nullopt;
}

std::optional<SpecFault> FindFaultInPath(absl::string_view path, absl::string_view what, absl::string_view spelling) {
  if (path.empty()) return SpecFault{0, absl::StrCat("the ", what, " is empty"), std::string(spelling)};
  if (path[0] != '/') {
    // The likeliest way to get here is a path with a separator in it, whose second half looks relative.
    return SpecFault{0, absl::StrCat("the ", what, " is not absolute"),
                     absl::StrCat("begin it with '/'; if it is part of a longer path: ", kSeparatorHint)};
  }
  if (path.size() >= PATH_MAX) {
    return SpecFault{0, absl::StrCat("the ", what, " has ", path.size(), " bytes, and the host allows ", PATH_MAX - 1),
                     "use a symbolic link with a shorter path"};
  }
  return FindBadByte(path, what);
}

std::optional<std::string> CanonicalAddress(int family, absl::string_view text) {
  // inet_pton would stop there and take the rest for granted.
  if (text.find('\0') != absl::string_view::npos) return std::nullopt;
  std::array<unsigned char, sizeof(in6_addr)> address = {};
  std::array<char, INET6_ADDRSTRLEN> printed = {};
  if (inet_pton(family, std::string(text).c_str(), address.data()) != 1) return std::nullopt;
  if (inet_ntop(family, address.data(), printed.data(), printed.size()) == nullptr) return std::nullopt;
  return std::string(printed.data());
}

std::string ShowSpec(absl::string_view text) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kShown)), text.size() > kShown ? "..." : "", "\"");
}

}  // namespace umld::devices
