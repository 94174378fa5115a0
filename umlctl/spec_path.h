#ifndef UMLD_UMLCTL_SPEC_PATH_H_
#define UMLD_UMLCTL_SPEC_PATH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld::umlctl {

// Where the user stands, as the shell's prompt shows it ($PWD where that is true): symbolic links stay.
absl::StatusOr<std::string> CurrentFolder();

// `path` as seen from `folder`. Absolute paths and "" stay as they are; "./" is dropped; links are not resolved.
std::string AbsolutePath(absl::string_view path, absl::string_view folder);

// A device in UML's spelling with the caller's relative paths made absolute, for the daemon stands elsewhere:
// "ubdb=a", "ubdb=cow,backing", "ubdb=cow:backing", "ubdb=file,,serial", "eth0=daemon,,unix,socket", "eth0=vde,folder".
// Devices without a path stay as they are.
// kInvalidArgument: no "=", a disk without a file, or a folder whose name UML's spelling cannot carry (',' and ':').
absl::StatusOr<std::string> AbsoluteSpec(absl::string_view spec, absl::string_view folder);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SPEC_PATH_H_
