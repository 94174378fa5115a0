#include "umlctl/resource_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/umid.h"

namespace umld::umlctl {

absl::StatusOr<std::string> GuestName(absl::string_view typed) {
  ASSIGN_OR_RETURN(const Umid umid, Umid::Parse(absl::StripPrefix(typed, "guests/")));
  return absl::StrCat("guests/", umid.str());
}

absl::StatusOr<std::string> ConsoleName(absl::string_view guest, absl::string_view console) {
  ASSIGN_OR_RETURN(const std::string guest_name, GuestName(guest));
  const bool is_number = !console.empty() && absl::ascii_isdigit(console[0]);
  ASSIGN_OR_RETURN(const std::string name, NameIn(guest_name + "/consoles", console));
  return is_number ? absl::StrCat(guest_name, "/consoles/con", console) : name;
}

absl::StatusOr<std::string> NameIn(absl::string_view collection, absl::string_view typed) {
  const std::string prefix = absl::StrCat(collection, "/");
  const absl::string_view id = absl::StripPrefix(typed, prefix);
  if (id.empty() || absl::StrContains(id, '/')) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", typed, "\" is not a name in ", collection),
                     {"INVALID_NAME", "", absl::StrCat("write NAME or ", prefix, "NAME")});
  }
  return absl::StrCat(prefix, id);
}

std::string ShortName(absl::string_view name) {
  const size_t slash = name.rfind('/');
  return std::string(slash == absl::string_view::npos ? name : name.substr(slash + 1));
}

}  // namespace umld::umlctl
