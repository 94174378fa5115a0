#ifndef UMLD_VMCORE_REBOOT_GUARD_H_
#define UMLD_VMCORE_REBOOT_GUARD_H_

#include <chrono>
#include <cstddef>
#include <deque>

namespace umld::vmcore {

// Notices a guest that does nothing but reboot. Pure: the caller brings the time.
class RebootGuard {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr size_t kMost = 10;
  static constexpr std::chrono::seconds kWithin{10};

  // Counts a reboot of the guest's own at `now`. True: it was one too many.
  bool TooMany(Time now) {
    reboots_.push_back(now);
    while (now - reboots_.front() > kWithin) reboots_.pop_front();
    return reboots_.size() > kMost;
  }

 private:
  std::deque<Time> reboots_;  // at most kMost + 1
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_REBOOT_GUARD_H_
