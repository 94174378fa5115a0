#ifndef UMLD_UMLD_WARM_FIT_H_
#define UMLD_UMLD_WARM_FIT_H_

#include <string>

#include "vmcore/vmcore.pb.h"

namespace umld {

// Why a guest has to be booted, although a kernel of its class waits: what it asks for has to be there in the first
// moment of a kernel. In words for people; empty: a kernel that waits can become this guest's (guest/warm/init.c).
// Pure.
std::string ColdReason(const vmcore::v1::Launch& launch);

}  // namespace umld

#endif  // UMLD_UMLD_WARM_FIT_H_
