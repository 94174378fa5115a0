#include "base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace umld {
namespace {

// The length of the character that `bytes`, which are not empty, begin with; 0: they begin with none.
size_t CharacterLength(absl::string_view bytes) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || bytes.size() < length) return 0;
  uint32_t code = first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(bytes[i]);
    if ((next & 0xc0U) != 0x80) return 0;
    code = code << 6 | (next & 0x3fU);
  }
  // Longer than it need be, half of a pair, or beyond the last.
  const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  const bool valid = code >= least && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return valid ? length : 0;
}

// U+0080 to U+009F, which begin with c2, are controls too: U+009B begins an escape sequence to some terminals.
bool IsControl(absl::string_view character) {
  const auto last = static_cast<unsigned char>(character.back());
  if (character.size() == 1) return (last < ' ' && last != '\n' && last != '\t') || last == 0x7f;
  return character.size() == 2 && character[0] == '\xc2' && last < 0xa0;
}

}  // namespace

bool IsUtf8(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = CharacterLength(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string ToText(absl::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = CharacterLength(bytes);
    const bool shown = length != 0 && !IsControl(bytes.substr(0, length));
    shown ? text.append(bytes.data(), length) : text.append(1, '?');
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return text;
}

}  // namespace umld
