#include "vmcore/records.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::vmcore {
namespace {

constexpr mode_t kMode = 0600;

}  // namespace

absl::Status WriteLaunchRecord(const v1::Launch& launch) {
  return WriteFileDurably("launch", launch.SerializeAsString(), kMode);
}

absl::Status WriteStatusRecord(const v1::Facts& facts) {
  std::string content = facts.SerializeAsString();
  UniqueFd fd(open("status.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kMode));
  if (!fd.ok()) return ErrnoError(errno, "create status.new");
  if (write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
    return ErrnoError(errno, "write status.new");
  }
  if (rename("status.new", "status") != 0) return ErrnoError(errno, "rename to status");
  return absl::OkStatus();
}

absl::Status WriteExitRecord(const v1::Exit& exit) { return WriteFileDurably("exit", exit.SerializeAsString(), kMode); }

void RemoveExitRecord() { unlink("exit"); }

}  // namespace umld::vmcore
