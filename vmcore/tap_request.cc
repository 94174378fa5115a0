#include "vmcore/tap_request.h"

#include <linux/audit.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace umld::vmcore {

bool IsTapRequest(const CaughtCall& call) {
  return call.architecture == AUDIT_ARCH_X86_64 && call.number == SYS_ioctl &&
         static_cast<uint32_t>(call.arguments[1]) == TUNSETIFF;
}

void AnswerTapRequest(int listener, const CaughtCall& call, const GiveTap& give) {
  ifreq request = {};
  iovec ours = {&request, sizeof(request)};
  iovec theirs = {nullptr, sizeof(request)};
  static_assert(sizeof(theirs.iov_base) == sizeof(call.arguments[2]));
  memcpy(&theirs.iov_base, &call.arguments[2], sizeof(theirs.iov_base));
  if (process_vm_readv(call.pid, &ours, 1, &theirs, 1, 0) != static_cast<ssize_t>(sizeof(request))) {
    return AnswerCall(listener, call, EFAULT);
  }
  // The pid could have been another's by then.
  if (!IsStillWaiting(listener, call)) return;
  const std::string name(request.ifr_name, strnlen(request.ifr_name, sizeof(request.ifr_name)));
  UniqueFd tap;
  int error = give(name, static_cast<unsigned short>(request.ifr_flags), &tap);
  if (error == 0) error = PutDescriptor(listener, call, static_cast<int>(call.arguments[0]), tap.get());
  AnswerCall(listener, call, error);
}

}  // namespace umld::vmcore
