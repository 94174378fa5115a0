#include "umld/labels.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr size_t kMostLabels = 64;
constexpr size_t kLongest = 63;
constexpr size_t kMostSelector = 4096;

bool IsLabelText(absl::string_view text) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || strchr("-_./", c); };
  return !text.empty() && text.size() <= kLongest && absl::ascii_isalnum(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return c != '\0' && allowed(c); });
}

absl::Status Invalid(const std::string& what, const char* reason) {
  return MakeError(absl::StatusCode::kInvalidArgument, what,
                   {reason, "",
                    "keys and values are 1 to 63 letters, digits, '-', '_', '.' and '/', beginning with a letter or "
                    "digit; a value may be empty"});
}

}  // namespace

absl::Status CheckLabels(const Labels& labels) {
  if (labels.size() > kMostLabels) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(labels.size(), " labels"),
                     {"INVALID_LABEL", "", absl::StrCat("a guest has at most ", kMostLabels)});
  }
  for (const auto& [key, value] : labels) {
    if (!IsLabelText(key)) return Invalid(absl::StrCat("\"", key, "\" cannot be a label's key"), "INVALID_LABEL");
    if (!value.empty() && !IsLabelText(value)) {
      return Invalid(absl::StrCat("label ", key, ": \"", value, "\" cannot be its value"), "INVALID_LABEL");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LabelSelector> LabelSelector::Parse(absl::string_view text) {
  LabelSelector selector;
  if (text.empty()) return selector;
  if (text.size() > kMostSelector) {
    return Invalid(absl::StrCat("a label selector of ", text.size(), " bytes; ", kMostSelector, " are the most"),
                   "INVALID_LABEL_SELECTOR");
  }
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    Term term;
    absl::string_view key = part;
    if (const size_t equals = part.find('='); equals != part.npos) {
      key = part.substr(0, equals);
      term.value = std::string(part.substr(equals + 1));
      if (!key.empty() && key.back() == '!') {
        key.remove_suffix(1);
        term.wanted = false;
      }
    } else {
      term.any_value = true;
      if (!key.empty() && key.front() == '!') {
        key.remove_prefix(1);
        term.wanted = false;
      }
    }
    term.key = std::string(key);
    if (!IsLabelText(key) || (!term.value.empty() && !IsLabelText(term.value))) {
      return Invalid(absl::StrCat("\"", part, "\" selects by no label: KEY=VALUE, KEY!=VALUE, KEY and !KEY do"),
                     "INVALID_LABEL_SELECTOR");
    }
    selector.terms_.push_back(std::move(term));
  }
  return selector;
}

bool LabelSelector::Matches(const Labels& labels) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    const auto found = labels.find(term.key);
    return (found != labels.end() && (term.any_value || found->second == term.value)) == term.wanted;
  });
}

}  // namespace umld
