#include "vmcore/log.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"

namespace umld::vmcore {
namespace {

LineLog& OwnLog() {
  static auto* log = new LineLog(STDERR_FILENO);
  return *log;
}

std::string Stamp() {
  timeval now = {};
  gettimeofday(&now, nullptr);
  tm parts = {};
  gmtime_r(&now.tv_sec, &parts);
  char stamp[32], millis[8];
  strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(millis, sizeof(millis), ".%03d", static_cast<int>(now.tv_usec / 1000));
  return absl::StrCat(stamp, millis, "Z ");
}

}  // namespace

void SetLogName(std::string name) { OwnLog().SetName(std::move(name)); }
void BoundLogFile() { OwnLog().BoundFile(); }
void Log(absl::string_view message) { OwnLog().Append(message); }

void LineLog::SetName(std::string name) { name_ = std::move(name); }

void LineLog::Append(absl::string_view message, TokenBucket::Clock::time_point now) {
  const std::string line = Line(message.substr(0, kMaxMessageBytes));
  if (!IsAllowed(line.size(), now)) {
    ++dropped_;
    return;
  }
  if (const uint64_t dropped = std::exchange(dropped_, 0); dropped > 0) {
    Write(Line(absl::StrCat(dropped, " lines are missing here: there were too many")));
  }
  Write(line);
}

bool LineLog::IsAllowed(size_t bytes, TokenBucket::Clock::time_point now) {
  if (dropped_ > 0 && allowance_.Available(now) < kResumeBytes) return false;
  return allowance_.Take(static_cast<double>(bytes), now);
}

std::string LineLog::Line(absl::string_view message) const { return absl::StrCat(Stamp(), name_, ": ", message, "\n"); }

void LineLog::Write(const std::string& line) {
  struct stat info = {};
  if (bounded_ && fstat(fd_, &info) == 0 && S_ISREG(info.st_mode) &&
      static_cast<uint64_t>(info.st_size) + line.size() > kMaxFileBytes && ftruncate(fd_, 0) == 0) {
    Write(Line("this log was full and begins anew"));
  }
  // One write, so that lines of several processes do not mix.
  [[maybe_unused]] ssize_t written = write(fd_, line.data(), line.size());
}

}  // namespace umld::vmcore
