#ifndef UMLD_UMLD_LABELS_H_
#define UMLD_UMLD_LABELS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

using Labels = std::map<std::string, std::string>;

// kInvalidArgument INVALID_LABEL: too many, or one that the API does not allow (Guest.labels).
absl::Status CheckLabels(const Labels& labels);

// Which guests are meant: "lab=net1,role!=router,rack,!old".
class LabelSelector {
 public:
  // The empty text means all. kInvalidArgument INVALID_LABEL_SELECTOR, with the term that is wrong.
  static absl::StatusOr<LabelSelector> Parse(absl::string_view text);
  bool Matches(const Labels& labels) const;

 private:
  struct Term {
    std::string key;
    bool any_value = false;
    std::string value;
    bool wanted = true;  // false: it must not be so
  };
  std::vector<Term> terms_;
};

}  // namespace umld

#endif  // UMLD_UMLD_LABELS_H_
