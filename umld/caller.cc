#include "umld/caller.h"

#include <grpcpp/server_context.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kMostGroups = 256;

}  // namespace

absl::StatusOr<Caller> CallerOf(const grpc::ServerContextBase& context) {
  // gRPC names a connection that ApiServer gave it by its descriptor, which stays open for as long as one of its calls
  // lives: the number cannot have become another connection's.
  const std::string peer = context.peer();
  absl::string_view number = peer;
  int fd = -1;
  ucred peer_ids = {};
  socklen_t size = sizeof(peer_ids);
  if (!absl::ConsumePrefix(&number, "fd:") || !absl::SimpleAtoi(number, &fd) ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer_ids, &size) != 0) {
    return MakeError(absl::StatusCode::kPermissionDenied, "umld cannot tell which user asks",
                     {"UNKNOWN_CALLER", "", "ask over umld's own socket"});
  }
  if (peer_ids.uid == 0 || peer_ids.uid == geteuid()) return Caller();
  Caller caller;
  caller.user = {peer_ids.uid, peer_ids.gid, std::vector<gid_t>(64)};
  std::vector<gid_t>& groups = caller.user->groups;
  int got = -1;
  do {
    size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    got = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
    groups.resize(size / sizeof(gid_t));
  } while (got != 0 && errno == ERANGE);
  if (got != 0) return ErrnoError(errno, "read the caller's groups");
  // They are kept with each disk and kernel that it names, and told to the guests' supervisors.
  if (groups.size() > kMostGroups) {
    return MakeError(absl::StatusCode::kPermissionDenied,
                     absl::StrCat("uid ", peer_ids.uid, " is in ", groups.size(), " groups"),
                     {"TOO_MANY_GROUPS", "", absl::StrCat("ask as a user who is in ", kMostGroups, " at most")});
  }
  return caller;
}

absl::Status NeedsAdmin(const Caller& caller, absl::string_view what) {
  if (caller.is_admin()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat(what, " is not for uid ", caller.user->uid, " to ask"),
                   {"NEEDS_ADMIN", "", "ask as root, or as the user that umld runs as"});
}

}  // namespace umld
