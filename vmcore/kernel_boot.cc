#include "vmcore/kernel_boot.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace umld::vmcore {

bool ShowsMounts(absl::string_view mounts) {
  const std::vector<absl::string_view> lines = absl::StrSplit(mounts, '\n', absl::SkipWhitespace());
  return std::any_of(lines.begin(), lines.end(),
                     [](absl::string_view line) { return !absl::StartsWith(line, "rootfs / "); });
}

bool ShowsOpenConsole(absl::string_view interrupts) {
  const std::vector<absl::string_view> words = absl::StrSplit(interrupts, absl::ByAnyChar(" ,\n"));
  return std::any_of(words.begin(), words.end(), [](absl::string_view word) {
    return word == "console" || word == "console-write" || word == "ssl" || word == "ssl-write";
  });
}

void AskWhetherBooted(MconsoleClient* mconsole, EventLoop::Clock::duration deadline,
                      std::function<void(absl::StatusOr<bool>)> then) {
  mconsole->Send("proc 1/mounts", deadline,
                 [mconsole, deadline, then = std::move(then)](const absl::StatusOr<MconsoleAnswer>& mounts) {
                   if (!mounts.ok()) return then(mounts.status());
                   if (mounts->error == 0 && ShowsMounts(mounts->text)) return then(true);
                   mconsole->Send("proc interrupts", deadline,
                                  [then](const absl::StatusOr<MconsoleAnswer>& interrupts) {
                                    if (!interrupts.ok()) return then(interrupts.status());
                                    then(interrupts->error == 0 && ShowsOpenConsole(interrupts->text));
                                  });
                 });
}

}  // namespace umld::vmcore
