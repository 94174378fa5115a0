#ifndef UMLD_BASE_TOKEN_BUCKET_H_
#define UMLD_BASE_TOKEN_BUCKET_H_

#include <algorithm>
#include <chrono>

namespace umld {

// How much of something is allowed: so much per second in the long run, and so much at once. Not thread-safe.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  // Begins full.
  TokenBucket(double per_second, double burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}

  // Takes `amount` when that much is there; false: nothing was taken.
  bool Take(double amount, Clock::time_point now) {
    if (Available(now) < amount) return false;
    tokens_ -= amount;
    return true;
  }
  double Available(Clock::time_point now) {
    if (now > filled_) {
      tokens_ = std::min(burst_, tokens_ + per_second_ * std::chrono::duration<double>(now - filled_).count());
      filled_ = now;
    }
    return tokens_;
  }

 private:
  const double per_second_, burst_;
  double tokens_;
  Clock::time_point filled_ = {};
};

}  // namespace umld

#endif  // UMLD_BASE_TOKEN_BUCKET_H_
