#include "umlctl/progress.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "umlctl/duration.h"
#include "umlctl/printable.h"
#include "umlctl/terminal.h"

namespace umld::umlctl {
namespace {

constexpr absl::Duration kQuietFor = absl::Seconds(1);

}  // namespace

void ProgressLine::Set(const std::string& what, absl::string_view text) {
  if (!enabled_) return;
  if (under_way_.empty()) since_ = absl::Now();
  under_way_[what] = PrintableLine(text);
  Draw();
}

void ProgressLine::Remove(const std::string& what) {
  if (under_way_.erase(what) == 0) return;
  Clear();
  if (!under_way_.empty()) Draw();
}

void ProgressLine::Clear() {
  if (!drawn_) return;
  err_ << "\r\033[K" << std::flush;
  drawn_ = false;
}

void ProgressLine::Draw() {
  const absl::Duration taken = absl::Now() - since_;
  if (taken < kQuietFor) return;
  const auto& [what, text] = *under_way_.begin();
  std::string line = absl::StrCat(what, ": ", text);
  if (under_way_.size() > 1) absl::StrAppend(&line, ", and ", under_way_.size() - 1, " more");
  absl::StrAppend(&line, " (", HumanDuration(taken), ")");
  const size_t width = GetTerminalSize(STDERR_FILENO).columns;
  if (width > 1 && line.size() >= width) line.resize(width - 1);
  err_ << "\r" << line << "\033[K" << std::flush;
  drawn_ = true;
}

}  // namespace umld::umlctl
