#ifndef UMLD_VMCORE_SECCOMP_FILTER_H_
#define UMLD_VMCORE_SECCOMP_FILTER_H_

#include <linux/filter.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace umld::vmcore {

// The system calls of a strict guest's processes (syscall_list.h), enforced by the host's kernel.
//
// A call outside the list is not let through, and the one that holds the filter's listener learns which it was: the
// caller sleeps in the call until it is answered or killed. When nobody holds the listener the call fails with ENOSYS.
// So a forbidden call never happens, whatever becomes of vmcore; that the guest dies of it, and that its end names the
// call, is vmcore's doing. (With SECCOMP_RET_KILL_PROCESS the host would do the killing, and tell nobody but its audit
// log.) The one that is answered is a request for a tap (tap_request.h).

// The program for the host's kernel. Made once, before the fork.
class SeccompFilter {
 public:
  // Blocks for a millisecond or so. kInternal: libseccomp refuses a rule.
  static absl::StatusOr<SeccompFilter> Make();

  // Valid as long as this object, which does not change.
  sock_fprog program() const;

 private:
  explicit SeccompFilter(std::vector<sock_filter> code) : code_(std::move(code)) {}

  std::vector<sock_filter> code_;
};

// Puts the calling thread and all that it becomes parent of under `program`, for good, no new privileges included.
// Returns the listener, close-on-exec; -1 with errno: the host refuses. Plain system calls, for the child of a fork.
int InstallSeccompFilter(const sock_fprog& program);

// Whether this host lets a process be filtered like that: tries it with a child. kPermissionDenied: it does not.
absl::Status CheckSeccompFilter();

struct CaughtCall {
  uint64_t id = 0;
  pid_t pid = 0;  // as this process sees it, of the thread that made the call
  uint32_t architecture = 0;
  int number = 0;
  std::array<uint64_t, 6> arguments = {};
};

// Takes one call that has been made from a listener that is readable: answer it, or kill the caller. nullopt: the
// caller has died or was interrupted meanwhile; if it makes the call again, that is another one. Once taken a call
// stays (since Linux 5.19; before, a signal interrupts it until it is answered).
std::optional<CaughtCall> ReadCaughtCall(int listener);

// Whether the caller still sleeps in the call, so that call.pid is still its pid.
bool IsStillWaiting(int listener, const CaughtCall& call);

// Gives the caller a duplicate of `fd`, close-on-exec, as its descriptor `number`, in the place of what it has there.
// Blocks until the caller has taken it, who has to run for that. 0 or errno: ENOENT, it waits no more. Linux 5.9 and
// later.
int PutDescriptor(int listener, const CaughtCall& call, int number, int fd);

// Ends the call, with `error`, or with success when that is 0. A caller that waits no more is nobody's loss.
void AnswerCall(int listener, const CaughtCall& call, int error);

// "unshare(0x10000000, 0x0, 0x7f5c00000000, ...)", with as many arguments as help; "system call 1000(...)".
std::string DescribeCall(const CaughtCall& call);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_SECCOMP_FILTER_H_
