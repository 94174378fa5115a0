#ifndef UMLD_UMLCTL_DETAILS_H_
#define UMLD_UMLCTL_DETAILS_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "umlctl/output.h"

namespace umld::umlctl {

// "Name:   value" lines for people, the values under one another; control characters are made visible.
class Details {
 public:
  void Add(absl::string_view label, absl::string_view value);
  // One more value of the last Add.
  void AddMore(absl::string_view value);
  // Indented, under the last Add.
  void AddUnder(absl::string_view label, absl::string_view value);
  // A line of somebody else's text, set apart.
  void AddText(absl::string_view line);
  void Print(std::ostream& out) const;

 private:
  struct Line {
    std::string label;
    std::string value;
    bool is_text;
  };
  std::vector<Line> lines_;
};

// describe's output in every format. `one`: a single object was asked for, so that json is not an array.
template <typename T>
void PrintDescriptions(const std::vector<T>& items, bool one, Details (*describe)(const T&),
                       const OutputOptions& options, std::ostream& out) {
  if (options.ForPrograms()) {
    std::vector<const google::protobuf::Message*> messages;
    for (const T& item : items) messages.push_back(&item);
    if (!one) PrintMessages(messages, options.format, out);
    if (one && !messages.empty()) PrintMessage(*messages[0], options.format, out);
    return;
  }
  bool first = true;
  for (const T& item : items) {
    if (options.format == Format::kName) {
      out << ShortName(item.name()) << "\n";
      continue;
    }
    if (!first) out << "\n";
    first = false;
    describe(item).Print(out);
  }
}

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_DETAILS_H_
