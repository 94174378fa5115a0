#ifndef UMLD_UMLD_GUEST_CGROUP_H_
#define UMLD_UMLD_GUEST_CGROUP_H_

#include <string>

#include "absl/strings/string_view.h"

namespace umld {

// Where the groups of guests belong on a host with control groups of version 2: in the group of umld-guests.service,
// which systemd delegates (deploy/systemd), when umld is the unit beside it. Not in umld's own: a group that passes
// controllers on has no processes of its own, and systemd could not start the next umld in it while guests run. Empty:
// there is no such place. Reads two small files of the kernel's.
std::string GuestCgroupFolder();

// Pure, for tests: `own` is /proc/self/cgroup, `mounts` /proc/self/mountinfo. Whether the folder exists is not asked.
std::string SiblingCgroup(absl::string_view own, absl::string_view mounts);

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_CGROUP_H_
