#ifndef UMLD_UMLCTL_PROGRESS_H_
#define UMLD_UMLCTL_PROGRESS_H_

#include <map>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace umld::umlctl {

// One line at the bottom of a terminal that says what is under way, once that has taken more than a second.
// Thread: one at a time (Session holds the lock).
class ProgressLine {
 public:
  // `enabled`: false when `err` is not a terminal; then nothing is ever drawn.
  ProgressLine(std::ostream& err, bool enabled) : err_(err), enabled_(enabled) {}

  // `what` is under way, and is at `text`.
  void Set(const std::string& what, absl::string_view text);
  void Remove(const std::string& what);
  // Before something else is printed.
  void Clear();
  bool enabled() const { return enabled_; }

 private:
  void Draw();

  std::ostream& err_;
  const bool enabled_;
  bool drawn_ = false;
  absl::Time since_ = absl::InfiniteFuture();
  std::map<std::string, std::string> under_way_;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_PROGRESS_H_
