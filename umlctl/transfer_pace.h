#ifndef UMLD_UMLCTL_TRANSFER_PACE_H_
#define UMLD_UMLCTL_TRANSFER_PACE_H_

#include <cstdint>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace umld::umlctl {

// How far a stream of bytes is, in words: "sending 12% of 1.2 GiB, 80 MiB/s, 14s left".
class TransferPace {
 public:
  // `total` 0: not known.
  std::string Text(const std::string& what, uint64_t done, uint64_t total) const;

 private:
  const absl::Time begun_ = absl::Now();
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_TRANSFER_PACE_H_
