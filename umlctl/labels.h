#ifndef UMLD_UMLCTL_LABELS_H_
#define UMLD_UMLCTL_LABELS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/map.h"
#include "umld/v1/resources.pb.h"

namespace CLI {
class App;
}

namespace umld::umlctl {

using LabelMap = google::protobuf::Map<std::string, std::string>;

// The option --label of a verb, whose words go to `words`.
void AddLabels(CLI::App& verb, std::vector<std::string>& words);
// Makes those changes: "lab=net1" sets one, "lab-" removes it. A usage error if a word is neither.
absl::Status ApplyLabels(const std::vector<std::string>& words, LabelMap* labels);

// The option -l of a verb: which guests (ListGuestsRequest.label_selector).
void AddLabelSelector(CLI::App& verb, std::string& selector);

// For people: "lab=net1,role=router".
std::string LabelsText(const v1::Guest& guest);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_LABELS_H_
