#ifndef UMLD_VMCORE_TAP_REQUEST_H_
#define UMLD_VMCORE_TAP_REQUEST_H_

#include <functional>
#include <string>

#include "base/unique_fd.h"
#include "vmcore/seccomp_filter.h"

namespace umld::vmcore {

// How a strict guest's kernel comes by a tap that is in the host's network, of which it sees nothing. It does what
// every UML kernel does: it opens /dev/net/tun, and asks with TUNSETIFF to be attached to the tap of a name. The filter
// stops that call; vmcore attaches in its place and puts the attached descriptor where the kernel has the opened one.
// An interface can be brought down and up again inside as often as one likes, and one is plugged without having been
// prepared for.

// Attaches to the tap `name` with the `flags` of TUNSETIFF. 0, or the errno that the kernel gets.
using GiveTap = std::function<int(const std::string& name, unsigned flags, UniqueFd* attached)>;

bool IsTapRequest(const CaughtCall& call);

// Reads from the caller's memory what it asks for, once, and answers it. The caller may die meanwhile. Blocks for as
// long as the caller likes, who has to run to take the descriptor, and whose memory may be slow to read: not for
// vmcore's own process (KernelProcesses::AnswerTapRequest). Needs CAP_SYS_PTRACE over the caller.
void AnswerTapRequest(int listener, const CaughtCall& call, const GiveTap& give);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_TAP_REQUEST_H_
