#include "umlctl/details.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "umlctl/printable.h"

namespace umld::umlctl {

void Details::Add(absl::string_view label, absl::string_view value) {
  lines_.push_back({absl::StrCat(label, ":"), PrintableLine(value), false});
}

void Details::AddMore(absl::string_view value) { lines_.push_back({"", PrintableLine(value), false}); }

void Details::AddUnder(absl::string_view label, absl::string_view value) {
  lines_.push_back({absl::StrCat("  ", label, ":"), PrintableLine(value), false});
}

void Details::AddText(absl::string_view line) {
  lines_.push_back({"", absl::StrCat("    | ", PrintableLine(line)), true});
}

void Details::Print(std::ostream& out) const {
  size_t width = 0;
  for (const Line& line : lines_) width = std::max(width, line.label.size());
  for (const Line& line : lines_) {
    out << line.label;
    if (!line.is_text && !line.value.empty()) out << std::string(width - line.label.size() + 2, ' ');
    out << line.value << "\n";
  }
}

}  // namespace umld::umlctl
