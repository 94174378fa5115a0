#ifndef UMLD_UMLCTL_RESOURCE_NAME_H_
#define UMLD_UMLCTL_RESOURCE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::umlctl {

// "guests/web1" from "web1" or "guests/web1". kInvalidArgument: not a umid.
absl::StatusOr<std::string> GuestName(absl::string_view typed);

// "guests/web1/consoles/con1" from a guest as above and "con1" or "1".
absl::StatusOr<std::string> ConsoleName(absl::string_view guest, absl::string_view console);

// "images/tiny" and "operations/42" from themselves or their last part. kInvalidArgument: empty, or with a '/' inside.
absl::StatusOr<std::string> NameIn(absl::string_view collection, absl::string_view typed);

// What people call it: "web1" of "guests/web1", "ubdb" of "guests/web1/disks/ubdb".
std::string ShortName(absl::string_view name);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_RESOURCE_NAME_H_
