#ifndef UMLD_UMLCTL_EACH_GUEST_H_
#define UMLD_UMLCTL_EACH_GUEST_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "umlctl/session.h"

namespace umld::umlctl {

// NAME..., or --all, or those with the labels of -l.
struct GuestSelection {
  std::vector<std::string> names;
  bool all = false;
  std::string labels;
};

// Adds them to a verb. `selection` lives as long as the verb.
void AddGuestSelection(CLI::App& verb, GuestSelection& selection);

// What came of one guest.
struct GuestResult {
  std::string said;                                    // "started"
  std::shared_ptr<google::protobuf::Message> message;  // for -o json and yaml
};

// Does `act` to every guest of the selection at the same time (at most 64), with its full name. Prints one line of
// result each ("web1: started") or one error each; json and yaml come at the end, in the order of the names.
// `concerns`: which guests --all and -l mean.
// Errors: the selection's own (none given, a name that cannot be one); those of the guests are reported already.
absl::Status ForEachGuest(Session& session, const GuestSelection& selection,
                          const std::function<bool(v1::GuestState)>& concerns,
                          const std::function<absl::StatusOr<GuestResult>(Client&, const std::string&)>& act);

// The error with the guest's name in it, unless the daemon has said it already.
absl::Status NamingGuest(const absl::Status& status, const std::string& name);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_EACH_GUEST_H_
