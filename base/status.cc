#include "base/status.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/utf8.h"

namespace umld {
namespace {

// Three strings joined by NUL, which no text contains.
constexpr char kPayloadUrl[] = "umld/ErrorDetail";
constexpr char kSeparator = '\0';

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view message, const ErrorDetail& detail) {
  absl::Status status(code, ToText(message));
  std::string payload = ToText(detail.reason);
  payload += kSeparator;
  payload += ToText(detail.subject);
  payload += kSeparator;
  payload += ToText(detail.hint);
  status.SetPayload(kPayloadUrl, absl::Cord(payload));
  return status;
}

ErrorDetail GetErrorDetail(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return {};
  std::vector<std::string> parts = absl::StrSplit(std::string(*payload), kSeparator);
  if (parts.size() != 3) return {};
  return {parts[0], parts[1], parts[2]};
}

absl::Status Annotate(const absl::Status& status, absl::string_view noun) {
  if (status.ok()) return status;
  absl::Status result(status.code(), absl::StrCat(noun, ": ", status.message()));
  status.ForEachPayload(
      [&result](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

absl::Status ErrnoError(int error_number, absl::string_view what) {
  std::string message = absl::StrCat(what, ": ", std::strerror(error_number));
  switch (error_number) {
    case ENOENT:
      return MakeError(absl::StatusCode::kNotFound, message, {"FILE_NOT_FOUND", "", "check the path"});
    case EACCES:
    case EPERM:
      return MakeError(absl::StatusCode::kPermissionDenied, message,
                       {"PERMISSION_DENIED", "", "check the owner and mode of the file and of the folders above it"});
    case ENOSPC:
    case EDQUOT:
      return MakeError(absl::StatusCode::kResourceExhausted, message,
                       {"DISK_FULL", "", "free space on that filesystem"});
    case EROFS:
      return MakeError(absl::StatusCode::kFailedPrecondition, message,
                       {"READ_ONLY_FILESYSTEM", "", "use a path on a writable filesystem"});
    case EEXIST:
      return MakeError(absl::StatusCode::kAlreadyExists, message, {"FILE_EXISTS", "", "choose another path"});
    default:
      return MakeError(absl::StatusCode::kInternal, message, {"SYSTEM_ERROR", "", ""});
  }
}

}  // namespace umld
