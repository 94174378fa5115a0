#include "umlctl/spec_path.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::umlctl {
namespace {

constexpr absl::string_view kSeparators = ",:";

absl::Status Invalid(absl::string_view spec, absl::string_view why, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("\"", spec.substr(0, 80), spec.size() > 80 ? "..." : "", "\": ", why),
                   {"INVALID_SPEC", "", std::string(hint)});
}

}  // namespace

absl::StatusOr<std::string> CurrentFolder() {
  std::unique_ptr<char, decltype(&std::free)> cwd(get_current_dir_name(), &std::free);
  if (cwd == nullptr) return ErrnoError(errno, "find the current folder");
  return std::string(cwd.get());
}

std::string AbsolutePath(absl::string_view path, absl::string_view folder) {
  if (path.empty() || path[0] == '/') return std::string(path);
  while (absl::ConsumePrefix(&path, "./")) {
    while (absl::ConsumePrefix(&path, "/")) {
    }
  }
  return absl::StrCat(absl::StripSuffix(folder, "/"), "/", path);
}

absl::StatusOr<std::string> AbsoluteSpec(absl::string_view spec, absl::string_view folder) {
  const size_t equals = spec.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return Invalid(spec, "not a device and its value", "write ubdb=FILE, ubdb=COW,BACKING, or mem=-64M");
  }
  if (!absl::StartsWith(spec, "ubd")) return std::string(spec);
  // FILE, then BACKING, then a serial number, which is no path.
  absl::string_view rest = spec.substr(equals + 1);
  std::string result(spec.substr(0, equals + 1));
  if (rest.empty() || kSeparators.find(rest[0]) != absl::string_view::npos) {
    return Invalid(spec, "it names no file", "write ubdb=FILE, or ubdb=COW,BACKING");
  }
  for (int paths = 0; paths < 2 && !rest.empty(); ++paths) {
    const absl::string_view path = rest.substr(0, rest.find_first_of(kSeparators));
    rest.remove_prefix(path.size());
    if (!path.empty() && path[0] != '/' && folder.find_first_of(kSeparators) != absl::string_view::npos) {
      return Invalid(spec, absl::StrCat("it is relative to ", folder, ", which has a ',' or ':' in its name"),
                     "UML separates files by ',' and ':'; use a folder without them");
    }
    absl::StrAppend(&result, AbsolutePath(path, folder), rest.substr(0, 1));
    rest.remove_prefix(rest.empty() ? 0 : 1);
  }
  return absl::StrCat(result, rest);
}

}  // namespace umld::umlctl
