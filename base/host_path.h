#ifndef UMLD_BASE_HOST_PATH_H_
#define UMLD_BASE_HOST_PATH_H_

#include <sys/stat.h>

#include <string>

#include "base/unique_fd.h"

namespace umld {

// Paths of the host that somebody named. As open and stat, but that none of them leads through /proc/PID/root,
// /proc/PID/cwd or /proc/PID/fd: behind those may be a mount namespace of any user's, with a file system of his own
// making that never answers, and whoever waits for it cannot be killed. errno then: ELOOP.
UniqueFd OpenHostPath(const std::string& path, int flags);
bool StatHostPath(const std::string& path, struct stat* info);

}  // namespace umld

#endif  // UMLD_BASE_HOST_PATH_H_
