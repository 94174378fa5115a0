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

namespace {

// The one path of an interface's spec: a switch's socket, the fourth field of daemon, or its folder, the second of vde.
absl::StatusOr<std::string> AbsoluteNic(absl::string_view spec, size_t value, absl::string_view folder) {
  size_t begin = value;
  const int fields = absl::StartsWith(spec.substr(value), "daemon,") ? 3
                     : absl::StartsWith(spec.substr(value), "vde,")  ? 1
                                                                     : 0;
  for (int i = 0; i < fields && begin != 0; ++i) begin = spec.find(',', begin) + 1;  // 0: there is none
  if (fields == 0 || begin == 0 || begin >= spec.size()) return std::string(spec);
  const absl::string_view path = spec.substr(begin, spec.find(',', begin) - begin);
  if (!path.empty() && path[0] != '/' && folder.find_first_of(kSeparators) != absl::string_view::npos) {
    return Invalid(spec, absl::StrCat("it is relative to ", folder, ", which has a ',' or ':' in its name"),
                   "UML separates fields by ','; use a folder without them");
  }
  return absl::StrCat(spec.substr(0, begin), AbsolutePath(path, folder), spec.substr(begin + path.size()));
}

}  // namespace

absl::StatusOr<std::string> AbsoluteSpec(absl::string_view spec, absl::string_view folder) {
  const size_t equals = spec.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return Invalid(spec, "not a device and its value",
                   "write ubdb=FILE, ubdb=COW,BACKING, eth0=tuntap,TAP or mem=-64M");
  }
  if (absl::StartsWith(spec, "eth")) return AbsoluteNic(spec, equals + 1, folder);
  if (!absl::StartsWith(spec, "ubd")) return std::string(spec);
  // FILE, then BACKING, then a serial number, which is no path.
  absl::string_view rest = spec.substr(equals + 1);
  std::string result(spec.substr(0, equals + 1));
  if (rest.empty() || kSeparators.find(rest[0]) != absl::string_view::npos) {
    return Invalid(spec, "it names no file", "write ubdb=FILE, or ubdb=COW,BACKING");
  }
  // What umld has: the modules of the guest's kernel, and volumes.
  if (rest == "modules:" || absl::StartsWith(rest, "volume:")) return std::string(spec);
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
