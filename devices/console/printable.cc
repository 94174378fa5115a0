#include "devices/console/printable.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"

namespace umld::devices {
namespace {

constexpr char kEscape = '\x1b';

// Length of the escape sequence at the start of `text`, which begins with kEscape.
size_t EscapeLength(absl::string_view text) {
  if (text.size() < 2) return text.size();
  if (text[1] == '[') {  // up to a letter or one of @~ and the like
    size_t end = 2;
    while (end < text.size() && text[end] >= 0x20 && text[end] < 0x40) ++end;
    return std::min(end + 1, text.size());
  }
  if (text[1] == ']' || text[1] == 'P' || text[1] == '_' || text[1] == '^' || text[1] == 'X') {  // up to BEL or ESC '\'
    size_t end = text.find_first_of("\a\x1b", 2);
    if (end == absl::string_view::npos) return text.size();
    return text[end] == kEscape ? std::min(end + 2, text.size()) : end + 1;
  }
  size_t end = 1;
  while (end < text.size() && text[end] >= 0x20 && text[end] < 0x30) ++end;
  return std::min(end + 1, text.size());
}

// Length of the printable UTF-8 character at the start, 0 when there is none. Beyond ASCII that leaves out the C1
// control characters and the marks that turn the direction of writing.
size_t CharacterLength(absl::string_view text) {
  auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return absl::ascii_iscntrl(first) ? 0 : 1;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  uint32_t code = first & (0xffU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0U) != 0x80U) return 0;
    code = (code << 6) | (byte & 0x3fU);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0xa0, 0x800, 0x10000};
  bool surrogate = code >= 0xd800 && code < 0xe000;
  bool direction =
      (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return code >= kSmallest[length] && code <= 0x10ffff && !surrogate && !direction ? length : 0;
}

std::string Printable(absl::string_view line) {
  std::string clean;
  while (!line.empty() && clean.size() < kMaxPrintableLine) {
    if (line[0] == kEscape) {
      line.remove_prefix(EscapeLength(line));
      continue;
    }
    size_t length = CharacterLength(line);
    if (length != 0) {
      if (clean.size() + length > kMaxPrintableLine) break;
      clean.append(line.data(), length);
    } else if (line[0] == '\t') {
      clean += ' ';
    } else if (!absl::ascii_isascii(line[0])) {
      clean += '?';
    }
    line.remove_prefix(std::max<size_t>(length, 1));
  }
  return std::string(absl::StripTrailingAsciiWhitespace(clean));
}

}  // namespace

std::vector<std::string> LastPrintableLines(absl::string_view text, size_t n) {
  std::vector<std::string> lines;
  while (!text.empty() && lines.size() < n) {
    size_t end = text.rfind('\n');
    std::string line = Printable(end == absl::string_view::npos ? text : text.substr(end + 1));
    if (!line.empty()) lines.push_back(std::move(line));
    if (end == absl::string_view::npos) break;
    text = text.substr(0, end);
  }
  std::reverse(lines.begin(), lines.end());
  return lines;
}

}  // namespace umld::devices
