#include "devices/nic/network_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::devices {
namespace {

// Without IPv6 an interface has no address of its own making, and nothing is sent over a guest's wire but by the guest.
// An absent file: this host has no IPv6 at all.
absl::Status ForbidIpv6() {
  UniqueFd fd(open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC));
  if (!fd.ok() && errno == ENOENT) return absl::OkStatus();
  if (fd.ok() && write(fd.get(), "1", 1) == 1) return absl::OkStatus();
  return ErrnoError(errno, "turn off IPv6 in the guest's network namespace");
}

}  // namespace

absl::StatusOr<std::unique_ptr<NetworkNamespace>> NetworkNamespace::Create() {
  std::unique_ptr<NetworkNamespace> made(new NetworkNamespace());
  made->home_.reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!made->home_.ok()) return ErrnoError(errno, "open the host's network namespace");
  // By a child, since an ordinary user could not go back from it to the host's.
  const auto child = static_cast<pid_t>(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  if (child < 0) {
    return MakeError(absl::StatusCode::kPermissionDenied,
                     absl::StrCat("this host gives the guest no network namespace: ", strerror(errno)),
                     {"NETWORK_NAMESPACE_REFUSED", "",
                      "run umld as root, allow more (user.max_net_namespaces), or create the guest with --confinement "
                      "relaxed --trust trusted"});
  }
  made->fd_.reset(open(absl::StrCat("/proc/", child, "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  const int error_number = errno;
  kill(child, SIGKILL);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!made->fd_.ok()) return ErrnoError(error_number, "open the guest's network namespace");
  // An ordinary user's guest has no interfaces that it could matter for.
  if (absl::Status quiet = made->Run(ForbidIpv6); !quiet.ok() && !absl::IsPermissionDenied(quiet)) return quiet;
  return made;
}

absl::Status NetworkNamespace::Run(absl::FunctionRef<absl::Status()> work) const {
  // The way back, tried before it is needed.
  if (setns(home_.get(), CLONE_NEWNET) != 0 || setns(fd_.get(), CLONE_NEWNET) != 0) {
    return MakeError(
        absl::StatusCode::kPermissionDenied,
        "an ordinary user's umld cannot join a confined guest to the host's network",
        {"NETWORK_DENIED", "", "run umld as root, or create the guest with --confinement relaxed --trust trusted"});
  }
  absl::Status status = work();
  // What this process does next it must not do in the guest's.
  if (setns(home_.get(), CLONE_NEWNET) != 0) _exit(1);
  return status;
}

}  // namespace umld::devices
