#ifndef UMLD_BASE_STATUS_H_
#define UMLD_BASE_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// What an error carries beside its code and message, from the place that noticed it to the user's terminal.
struct ErrorDetail {
  std::string reason;   // UPPER_SNAKE_CASE constant, for programs
  std::string subject;  // the object it is about: "guests/web1/disks/ubdb", a path
  std::string hint;     // what to do next, for people
};

// An error with its detail. `message` says what happened and names the thing: "/srv/x is a directory, not a disk". All
// of it becomes text (ToText), for a message may quote what a guest wrote.
absl::Status MakeError(absl::StatusCode code, absl::string_view message, const ErrorDetail& detail);

// The detail of an error; empty fields when it has none.
ErrorDetail GetErrorDetail(const absl::Status& status);

// Prepends "noun: " to the message and keeps code and detail. OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view noun);

// From errno: ENOENT is NotFound, EACCES and EPERM PermissionDenied, ENOSPC and EDQUOT ResourceExhausted, EROFS
// FailedPrecondition, EEXIST AlreadyExists, all else Internal; the hint fits the code. `what` names action and object
// ("open /srv/x").
absl::Status ErrnoError(int error_number, absl::string_view what);

}  // namespace umld

#define UMLD_CONCAT_INNER(a, b) a##b
#define UMLD_CONCAT(a, b) UMLD_CONCAT_INNER(a, b)

// __COUNTER__ keeps the names apart where one of these stands inside another's expression (a lambda).
#define RETURN_IF_ERROR(expr) UMLD_RETURN_IF_ERROR(UMLD_CONCAT(status_, __COUNTER__), expr)
#define UMLD_RETURN_IF_ERROR(tmp, expr)                   \
  do {                                                    \
    if (absl::Status tmp = (expr); !tmp.ok()) return tmp; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) UMLD_ASSIGN_OR_RETURN(UMLD_CONCAT(status_or_, __COUNTER__), lhs, expr)
#define UMLD_ASSIGN_OR_RETURN(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = *std::move(tmp)

#endif  // UMLD_BASE_STATUS_H_
