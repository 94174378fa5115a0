#include "tests/guest_login.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"

namespace umld::tests {
namespace {

// busybox asks the terminal where the cursor is before it prompts; nobody answers, and it is no matter.
constexpr char kAskCursor[] = "\033[6n";

// What stands on the last line, colours and the like apart.
std::string LastLine(const std::string& out) {
  const std::string line = out.substr(out.find_last_of("\r\n") + 1);
  return absl::StrReplaceAll(line, {{kAskCursor, ""}, {"\033[J", ""}});
}

}  // namespace

bool AtPrompt(const std::string& out) { return absl::EndsWith(LastLine(out), "# "); }

bool LogIn(Running& console, absl::Duration patience) {
  const absl::Time give_up = absl::Now() + patience;
  size_t seen = 0;  // what came before the last key is of no interest
  while (absl::Now() < give_up) {
    console.Write("\n");
    std::string line;
    const bool prompt = console.ReadUntil(
        [&](const std::string& out) {
          line = LastLine(out.substr(seen));
          return absl::EndsWith(line, "login: ") || AtPrompt(line);
        },
        absl::Seconds(1));
    if (console.HasEnded()) return false;
    if (!prompt) continue;
    seen = console.out().size();
    if (AtPrompt(line)) return true;
    console.Write("root\n");
    if (console.ReadUntil([&](const std::string& out) { return AtPrompt(out.substr(seen)); }, absl::Seconds(10))) {
      return true;
    }
  }
  return false;
}

bool RunAtPrompt(Running& console, const std::string& command, absl::Duration patience, int* exit_code,
                 std::string* out) {
  static int number = 0;
  const std::string id = absl::StrCat(getpid(), "_", ++number);
  // Typed with quotes in the middle, so that the echo of what is typed is not taken for the marks.
  const std::string begin = absl::StrCat("@@B", id, "\r\n"), end = absl::StrCat("@@E", id, ":");
  size_t scanned = console.out().size();
  console.Write(absl::StrCat("echo \"@@\"B", id, "; { ", command, "; } 2>&1; echo \"@@\"E", id, ":$?\n"));
  size_t from = std::string::npos, to = std::string::npos, line_end = 0;
  const bool done = console.ReadUntil(
      [&](const std::string& all) {
        if (from == std::string::npos) {
          from = all.find(begin, scanned);
          if (from == std::string::npos) return false;
          scanned = from += begin.size();
        }
        to = all.find(end, scanned);
        line_end = to == std::string::npos ? to : all.find('\r', to);
        // Megabytes may come: what has been looked at is not looked at again, but for a mark that was cut in two.
        if (to == std::string::npos) scanned = std::max(from, all.size() - std::min(all.size(), end.size()));
        return line_end != std::string::npos;
      },
      patience);
  if (!done) return false;
  *out = absl::StrReplaceAll(console.out().substr(from, to - from), {{"\r\n", "\n"}});
  const size_t code = to + end.size();
  return absl::SimpleAtoi(console.out().substr(code, line_end - code), exit_code);
}

}  // namespace umld::tests
