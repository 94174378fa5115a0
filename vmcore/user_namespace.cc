#include "vmcore/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace umld::vmcore {

bool WriteKernelFile(const std::string& path, const std::string& text) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.ok() && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool EnterUserNamespace() {
  static bool entered = false;
  if (entered) return true;
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER) != 0) return false;
  WriteKernelFile("/proc/self/setgroups", "deny");
  // Without a map the ids of files that the guest makes would be nobody's; there is no way back from here either.
  if (!WriteKernelFile("/proc/self/uid_map", absl::StrCat(uid, " ", uid, " 1\n"))) return false;
  if (!WriteKernelFile("/proc/self/gid_map", absl::StrCat(gid, " ", gid, " 1\n"))) return false;
  entered = true;
  return true;
}

}  // namespace umld::vmcore
