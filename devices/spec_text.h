#ifndef UMLD_DEVICES_SPEC_TEXT_H_
#define UMLD_DEVICES_SPEC_TEXT_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace umld::devices {

// What is wrong with a device spec, at which byte of the text it was found in, and what to do.
struct SpecFault {
  size_t offset = 0;
  std::string reason;
  std::string hint;
};

// For a path, or what looks like the second half of one, that holds the separators of a spec.
inline constexpr char kSeparatorHint[] =
    "the kernel ends a path at ',' and ':'; make a symbolic link without them and use that";

// The first byte that no part of a spec can hold: ',' ':' '"', a control character, broken UTF-8. `what` names the part
// ("path"). Pure.
std::optional<SpecFault> FindBadByte(absl::string_view text, absl::string_view what);

// A path as the kernel can be told it: absolute, shorter than PATH_MAX, no bad byte. Says nothing about whether the
// file exists. `spelling` is the hint for an empty path. Pure.
std::optional<SpecFault> FindFaultInPath(absl::string_view path, absl::string_view what, absl::string_view spelling);

// An address of `family` (AF_INET, AF_INET6) in the system's own spelling, so that equal addresses are equal strings;
// nullopt: it is none. Pure.
std::optional<std::string> CanonicalAddress(int family, absl::string_view text);

// A spec as an error shows it, between quotes: escaped, and cut at 80 bytes.
std::string ShowSpec(absl::string_view text);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_SPEC_TEXT_H_
