#include "umlctl/labels.h"

#include <CLI/App.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "umlctl/session.h"

namespace umld::umlctl {

void AddLabels(CLI::App& verb, std::vector<std::string>& words) {
  verb.add_option("--label", words, "KEY=VALUE, to select guests by; KEY- removes one; may be repeated")
      ->allow_extra_args(false)
      ->option_text("KEY=VALUE");
}

absl::Status ApplyLabels(const std::vector<std::string>& words, LabelMap* labels) {
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) {
      (*labels)[word.substr(0, equals)] = word.substr(equals + 1);
    } else if (absl::EndsWith(word, "-")) {
      labels->erase(word.substr(0, word.size() - 1));
    } else {
      return UsageError(absl::StrCat("label \"", word, "\": no value"), "KEY=VALUE sets a label, KEY- removes it");
    }
  }
  return absl::OkStatus();
}

void AddLabelSelector(CLI::App& verb, std::string& selector) {
  verb.add_option("-l,--selector", selector,
                  "those with these labels: KEY=VALUE, KEY!=VALUE, KEY or !KEY, comma-separated")
      ->option_text("LABELS");
}

std::string LabelsText(const v1::Guest& guest) {
  const std::map<std::string, std::string> sorted(guest.labels().begin(), guest.labels().end());
  return absl::StrJoin(sorted, ",", absl::PairFormatter("="));
}

}  // namespace umld::umlctl
