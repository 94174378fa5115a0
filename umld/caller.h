#ifndef UMLD_UMLD_CALLER_H_
#define UMLD_UMLD_CALLER_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/credentials.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace umld {

// Who asks something of umld.
struct Caller {
  // Whose permissions hold for what a request names on the host (files, programs), now and when a guest is started
  // later; nullopt: umld's own, for root and the user that umld runs as.
  std::optional<Credentials> user;

  bool is_admin() const { return !user.has_value(); }
};

// The user at the other end of the API's socket, as the host's kernel knows it (its ids when it connected). Cheap.
// kPermissionDenied: the connection says nothing of it.
absl::StatusOr<Caller> CallerOf(const grpc::ServerContextBase& context);

// kPermissionDenied, NEEDS_ADMIN, unless the caller is root or the user that umld runs as: `what` would give it more of
// the host than its own permissions do.
absl::Status NeedsAdmin(const Caller& caller, absl::string_view what);

}  // namespace umld

#endif  // UMLD_UMLD_CALLER_H_
