#include "vmcore/exit_reason.h"

#include <string.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace umld::vmcore {
namespace {

constexpr absl::string_view kPanic = "Kernel panic - not syncing: ";
constexpr size_t kMaxLine = 300;

// The text after the last `marker` up to the end of its line; nullopt: there is none.
std::optional<absl::string_view> LastLineWith(absl::string_view text, absl::string_view marker) {
  size_t at = text.rfind(marker);
  if (at == absl::string_view::npos) return std::nullopt;
  absl::string_view rest = text.substr(at);
  return rest.substr(0, rest.find_first_of("\r\n"));
}

// The last line that is not empty once it is fit to be shown.
std::string LastWords(absl::string_view text) {
  while (!text.empty()) {
    size_t newline = text.find_last_of("\r\n");
    absl::string_view line = newline == absl::string_view::npos ? text : text.substr(newline + 1);
    std::string clean = OneCleanLine(line);
    if (!clean.empty()) return clean;
    if (newline == absl::string_view::npos) break;
    text = text.substr(0, newline);
  }
  return "";
}

// How the guest itself said that it ends: its last `reboot:` line. mconsole's halt prints none.
std::optional<EndKind> LastRebootLine(absl::string_view tail) {
  size_t restart = tail.rfind("reboot: Restarting system");
  size_t power_down = tail.rfind("reboot: Power down");
  size_t halted = tail.rfind("reboot: System halted");
  constexpr size_t kNone = absl::string_view::npos;
  size_t off = power_down == kNone ? halted : (halted == kNone ? power_down : std::max(power_down, halted));
  if (restart == kNone && off == kNone) return std::nullopt;
  if (off == kNone || (restart != kNone && restart > off)) return EndKind::kRebooted;
  return EndKind::kPoweredOff;
}

// An escape sequence's length at the start of `text`, which begins with ESC.
size_t EscapeLength(absl::string_view text) {
  if (text.size() < 2) return text.size();
  if (text[1] != '[') return 2;
  size_t end = 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  return std::min(end + 1, text.size());
}

std::string FailureToStart(const KernelEnd& end) {
  if (end.failed_errno == 0) return end.failed_step;
  return absl::StrCat(end.failed_step, ": ", strerror(end.failed_errno));
}

}  // namespace

std::string SignalName(int signal) {
  const char* abbreviation = sigabbrev_np(signal);
  return abbreviation == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", abbreviation);
}

std::string OneCleanLine(absl::string_view text) {
  std::string line;
  for (size_t i = 0; i < text.size() && line.size() < kMaxLine;) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0x1b) {
      i += EscapeLength(text.substr(i));
      continue;
    }
    // Bytes over 0x7e could be cut in the middle of a character, and kernels print none.
    if (byte == '\t' || (byte >= ' ' && byte < 0x7f)) line.push_back(byte == '\t' ? ' ' : static_cast<char>(byte));
    ++i;
  }
  size_t first = line.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return line.substr(first, line.find_last_not_of(' ') - first + 1);
}

ExitReason ClassifyEnd(const KernelEnd& end, bool came_up, absl::string_view panic, absl::string_view console_tail) {
  ExitReason result;
  if (!end.failed_step.empty()) {
    result.reason = FailureToStart(end);
    return result;
  }
  if (!end.limit.empty()) {
    result.reason = end.limit;
    return result;
  }
  if (!end.forbidden_call.empty()) {
    result.reason =
        absl::StrCat("killed: the kernel made a system call that its seccomp filter forbids: ", end.forbidden_call);
    return result;
  }
  if (!end.wait_status.has_value()) {
    result.signal = WIFSIGNALED(end.init_wait_status) ? WTERMSIG(end.init_wait_status) : 0;
    result.reason = absl::StrCat("the guest's init process was ended from outside, by ", SignalName(result.signal));
    return result;
  }
  const int status = *end.wait_status;
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);

  // A panic ends in SIGABRT; the text is what people want to read.
  if (!panic.empty()) {
    result.reason = absl::StrCat(kPanic, OneCleanLine(panic));
    return result;
  }
  if (auto line = LastLineWith(console_tail, kPanic); line.has_value() && result.signal != 0) {
    result.reason = OneCleanLine(*line);
    return result;
  }
  if (result.signal != 0) {
    result.reason = absl::StrCat("killed by signal ", result.signal, " (", SignalName(result.signal), ")");
    return result;
  }
  if (!came_up) {
    std::string words = LastWords(console_tail);
    result.reason = absl::StrCat("the kernel ended before it was up (exit code ", result.exit_code, ")",
                                 words.empty() ? "" : ": ", words);
    return result;
  }
  // A guest may set the exit code of its own clean end through /proc/exitcode, so its last words count first.
  std::optional<EndKind> said = LastRebootLine(console_tail);
  if (said.has_value() || result.exit_code == 0) {
    result.kind = said.value_or(EndKind::kPoweredOff);
    result.reason = result.kind == EndKind::kRebooted ? "rebooted" : "powered off";
    return result;
  }
  result.reason = absl::StrCat("the kernel exited with code ", result.exit_code);
  return result;
}

}  // namespace umld::vmcore
