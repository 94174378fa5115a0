#include "vmcore/log.h"

#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"

namespace umld::vmcore {
namespace {

std::string& Name() {
  static auto* name = new std::string("vmcore");
  return *name;
}

}  // namespace

void SetLogName(std::string name) { Name() = std::move(name); }

void Log(absl::string_view message) {
  timeval now = {};
  gettimeofday(&now, nullptr);
  tm parts = {};
  gmtime_r(&now.tv_sec, &parts);
  char stamp[32], millis[8];
  strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(millis, sizeof(millis), ".%03d", static_cast<int>(now.tv_usec / 1000));
  std::string line = absl::StrCat(stamp, millis, "Z ", Name(), ": ", message, "\n");
  // One write, so that lines of several processes do not mix. A log that cannot be written must not stop a guest.
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace umld::vmcore
