#ifndef UMLD_VMCORE_LOG_H_
#define UMLD_VMCORE_LOG_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/token_bucket.h"

namespace umld::vmcore {

// One line on stderr, with the time and the guest's name: "2026-07-04T12:00:00.123Z web1: started kernel 4711".
// For what an administrator would want to read afterwards; never once per byte, packet or request. See LineLog for what
// becomes of too many. Thread: vmcore's only one.
void Log(absl::string_view message);

// The name in every line from now on.
void SetLogName(std::string name);

// stderr is a file that is vmcore's alone: from now on it begins anew when it is full.
void BoundLogFile();

// Writes lines with time and name into a file. A guest can provoke them at any rate. Never fails: a log that cannot be
// written must not stop a guest.
class LineLog {
 public:
  // Beyond this lines are dropped, and a line tells how many. A boot is some ten lines.
  static constexpr double kBytesPerSecond = 256, kBurstBytes = 64 << 10;
  // Once lines are dropped, they are until so much may be written again: not every second one.
  static constexpr double kResumeBytes = 8 << 10;
  static constexpr size_t kMaxMessageBytes = 4096;  // what is longer is cut
  static constexpr uint64_t kMaxFileBytes = 1 << 20;

  // `fd` stays the caller's.
  explicit LineLog(int fd) : fd_(fd) {}

  void SetName(std::string name);
  // The file, opened to append and nobody else's, is emptied when it would get larger than kMaxFileBytes.
  void BoundFile() { bounded_ = true; }
  void Append(absl::string_view message, TokenBucket::Clock::time_point now = TokenBucket::Clock::now());

 private:
  bool IsAllowed(size_t bytes, TokenBucket::Clock::time_point now);
  std::string Line(absl::string_view message) const;
  void Write(const std::string& line);

  const int fd_;
  std::string name_ = "vmcore";
  bool bounded_ = false;
  TokenBucket allowance_{kBytesPerSecond, kBurstBytes};
  uint64_t dropped_ = 0;  // lines, not yet told
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_LOG_H_
