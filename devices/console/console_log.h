#ifndef UMLD_DEVICES_CONSOLE_CONSOLE_LOG_H_
#define UMLD_DEVICES_CONSOLE_CONSOLE_LOG_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"

namespace umld::devices {

// What a console printed, on the host's disk: PATH, and the part before it in PATH.1. Together they take at most twice
// `max_bytes`. Mode 0600. Thread: its owner's. Waits for the host's page cache, never for the disk itself.
class ConsoleLog {
 public:
  // What a guest may write into the logs of all its consoles: one that prints without end does not keep the host's disk
  // busy, and its logs have gaps. It is far more than boots and crashes print.
  static constexpr double kBytesPerSecond = 1 << 20, kBurstBytes = 16 << 20;
  // So long is a gap at least: not one line in two.
  static constexpr std::chrono::seconds kGap{1};

  // Appends to an existing file. `path` is absolute, in an existing folder. `allowance` is the guest's: its logs share
  // it, and it outlives them. Errors as ErrnoError; kFailedPrecondition: it is there and no regular file.
  static absl::StatusOr<std::unique_ptr<ConsoleLog>> Open(const std::string& path, uint64_t max_bytes,
                                                          TokenBucket* allowance);

  // Never fails, since a console must not stop for its log: what cannot be written (the disk is full, the folder is
  // gone, too much came at once) is dropped and counted, every further Append tries again, and a line in the log tells
  // of the gap.
  void Append(absl::string_view bytes, TokenBucket::Clock::time_point now = TokenBucket::Clock::now());

  // All bytes that were dropped since Open.
  uint64_t dropped_bytes() const { return dropped_; }

  // Opens PATH anew, after somebody has moved it away. On error the old file stays in use.
  absl::Status Reopen();

 private:
  ConsoleLog(std::string path, uint64_t max_bytes, TokenBucket* allowance)
      : path_(std::move(path)), max_bytes_(max_bytes), allowance_(allowance) {}

  bool Rotate();
  bool IsAllowed(size_t bytes, TokenBucket::Clock::time_point now);
  bool WriteGapNote();
  size_t Write(absl::string_view bytes);

  std::string path_;
  uint64_t max_bytes_;
  TokenBucket* allowance_;
  uint64_t size_ = 0;
  uint64_t dropped_ = 0;
  uint64_t gap_ = 0;  // dropped, and not yet told in the log
  std::string why_;
  TokenBucket::Clock::time_point muted_until_;  // too much came
  UniqueFd fd_;
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_CONSOLE_LOG_H_
