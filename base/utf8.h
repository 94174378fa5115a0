#ifndef UMLD_BASE_UTF8_H_
#define UMLD_BASE_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace umld {

// Text of strangers (a guest, a file that a guest writes) on its way to people and into messages, whose strings have to
// be valid UTF-8: one that is not makes the whole message unreadable to whoever gets it. Pure.

bool IsUtf8(absl::string_view bytes);

// `bytes` as text: each byte that is not part of a UTF-8 character, and each control character but a line's end and a
// tab, becomes '?'. As many bytes as before, or fewer.
std::string ToText(absl::string_view bytes);

}  // namespace umld

#endif  // UMLD_BASE_UTF8_H_
