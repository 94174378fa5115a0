#ifndef UMLD_UMLCTL_KERNEL_WORD_H_
#define UMLD_UMLCTL_KERNEL_WORD_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "umlctl/resource_name.h"
#include "umlctl/spec_path.h"
#include "umld/v1/resources.pb.h"

namespace umld::umlctl {

// What is typed for a guest's kernel, as Guest.kernel wants it: a word with a slash is a file (relative to `folder`) or
// "kernels/NAME", "default" the host's default, any other word the name of a kernel.
inline absl::StatusOr<std::string> KernelOf(absl::string_view word, absl::string_view folder) {
  if (word.empty() || word == "default") return std::string();
  if (!absl::StrContains(word, '/') || absl::StartsWith(word, "kernels/")) return NameIn("kernels", word);
  return AbsolutePath(word, folder);
}

// The same for people: "kernels/debian" as "debian", and what the default is now.
inline std::string KernelText(const v1::Guest& guest) {
  const std::string& in_use = guest.kernel_in_use();
  const std::string now = absl::StartsWith(in_use, "kernels/") ? ShortName(in_use) : in_use;
  if (guest.kernel().empty()) return now.empty() ? "default" : absl::StrCat("default (", now, ")");
  return absl::StartsWith(guest.kernel(), "kernels/") ? ShortName(guest.kernel()) : guest.kernel();
}

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_KERNEL_WORD_H_
