#ifndef UMLD_UMLCTL_ADDRESS_H_
#define UMLD_UMLCTL_ADDRESS_H_

#include <sys/types.h>

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace umld::umlctl {

// The reason in an error's detail when the daemon's socket cannot be reached at all.
inline constexpr char kDaemonUnreachable[] = "DAEMON_UNREACHABLE";
inline constexpr char kSystemSocket[] = "/run/umld/umld.sock";

// All that decides where umld is looked for.
struct AddressSources {
  std::string flag;         // --address
  std::string environment;  // UMLD_ADDRESS
  std::string runtime_dir;  // XDG_RUNTIME_DIR
  uid_t uid = 0;
};

// The absolute path of umld's socket: the flag, else the environment ("unix:/path" or a bare path), else the system
// daemon's socket when it exists or we are root, else the user's own daemon's. `exists` is asked about paths.
// kInvalidArgument: not a path, or longer than a socket's can be.
absl::StatusOr<std::string> ResolveAddress(const AddressSources& sources,
                                           absl::FunctionRef<bool(const std::string&)> exists);

// One plain connect(), so that an absent daemon is an immediate and precise error. The socket is non-blocking.
// kUnavailable with reason kDaemonUnreachable, or kPermissionDenied: says the path, why, and what to do.
// kPermissionDenied: in the user's default folder under /tmp, and served by somebody else.
absl::StatusOr<UniqueFd> ConnectSocket(const std::string& path);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_ADDRESS_H_
