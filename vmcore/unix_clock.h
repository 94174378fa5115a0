#ifndef UMLD_VMCORE_UNIX_CLOCK_H_
#define UMLD_VMCORE_UNIX_CLOCK_H_

#include <cstdint>
#include <ctime>

namespace umld::vmcore {

// As in messages and records: nanoseconds since 1970.
inline int64_t NowUnixNs() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_UNIX_CLOCK_H_
