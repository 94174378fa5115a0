#include "umlctl/address.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::umlctl {
namespace {

constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;

absl::StatusOr<std::string> ParseAddress(absl::string_view text) {
  absl::string_view path = text;
  const bool has_scheme = absl::ConsumePrefix(&path, "unix:");
  if (has_scheme && absl::StartsWith(path, "//")) path.remove_prefix(2);
  const bool looks_like_host_and_port = !has_scheme && !absl::StrContains(path, '/') && absl::StrContains(path, ':');
  if (path.empty() || looks_like_host_and_port) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", text, "\" is not the address of a socket"),
                     {"INVALID_ADDRESS", "", "write unix:/path/to/umld.sock, or the path alone"});
  }
  if (path[0] == '/') return std::string(path);
  std::unique_ptr<char, decltype(&std::free)> cwd(get_current_dir_name(), &std::free);
  if (cwd == nullptr) return ErrnoError(errno, "find the current folder");
  return absl::StrCat(cwd.get(), "/", path);
}

std::string HintFor(const std::string& path, int error_number) {
  if (error_number == EACCES || error_number == EPERM) {
    struct stat info = {};
    if (stat(path.c_str(), &info) == 0 && (info.st_mode & S_IWGRP) != 0 && info.st_gid != 0) {
      // Not thread-safe, and called once: nothing else in this program asks for groups.
      if (const group* owner = getgrgid(info.st_gid); owner != nullptr) {
        return absl::StrCat("become a member of the group ", owner->gr_name, ", or use sudo");
      }
    }
    return "use sudo, or start a daemon of your own: umld &";
  }
  if (path == kSystemSocket) return "start the daemon: systemctl start umld";
  return absl::StrCat("start the daemon: umld &   (or name another with --address or UMLD_ADDRESS)");
}

absl::Status Unreachable(const std::string& path, int error_number) {
  std::string why;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      why = "there is no such socket";
      break;
    case ECONNREFUSED:
      why = "the socket is there, but no daemon listens on it (connection refused)";
      break;
    case EACCES:
    case EPERM:
      why = "permission denied";
      break;
    default:
      why = std::strerror(error_number);
  }
  // The daemon is there and the caller may not: that is not "unreachable", and waiting does not help.
  const bool denied = error_number == EACCES || error_number == EPERM;
  return MakeError(denied ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kUnavailable,
                   absl::StrCat("cannot reach umld at ", path, ": ", why),
                   {denied ? "SOCKET_DENIED" : kDaemonUnreachable, path, HintFor(path, error_number)});
}

// /tmp is anybody's: a daemon there that is not ours could be waiting for what we type into its consoles.
absl::Status CheckOwner(const UniqueFd& fd, const std::string& path) {
  if (!absl::StartsWith(path, absl::StrCat("/tmp/umld-", geteuid(), "/"))) return absl::OkStatus();
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return ErrnoError(errno, "ask who serves");
  if (peer.uid == 0 || peer.uid == geteuid()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat("the daemon at ", path, " is user ", peer.uid, "'s, not yours"),
                   {"FOREIGN_DAEMON", path, "remove that folder, or set XDG_RUNTIME_DIR"});
}

}  // namespace

absl::StatusOr<std::string> ResolveAddress(const AddressSources& sources,
                                           absl::FunctionRef<bool(const std::string&)> exists) {
  std::string path;
  if (const std::string& given = sources.flag.empty() ? sources.environment : sources.flag; !given.empty()) {
    ASSIGN_OR_RETURN(path, ParseAddress(given));
  } else if (sources.uid == 0 || exists(kSystemSocket)) {
    path = kSystemSocket;
  } else if (!sources.runtime_dir.empty()) {
    path = absl::StrCat(sources.runtime_dir, "/umld/umld.sock");
  } else {
    path = absl::StrCat("/tmp/umld-", sources.uid, "/umld.sock");
  }
  if (path.size() > kMaxPath) {
    return MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("the socket's path has ", path.size(), " characters, ", kMaxPath, " is the most: ", path),
        {"INVALID_ADDRESS", path, "use a shorter path"});
  }
  return path;
}

absl::StatusOr<UniqueFd> ConnectSocket(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() > kMaxPath) return Unreachable(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return ErrnoError(errno, "make a socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Unreachable(path, errno);
  }
  RETURN_IF_ERROR(CheckOwner(fd, path));
  if (fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "make the socket non-blocking");
  return fd;
}

}  // namespace umld::umlctl
