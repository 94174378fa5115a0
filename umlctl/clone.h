#ifndef UMLD_UMLCTL_CLONE_H_
#define UMLD_UMLCTL_CLONE_H_

#include <CLI/App.hpp>
#include <string>

#include "absl/status/status.h"
#include "umlctl/session.h"

namespace umld::umlctl {

struct CloneWords {
  std::string source;  // "guests/web1", or "guests/web1/snapshots/before"
  std::string name;    // of the new guest, as typed
  bool same_identity = false;
  bool start = false;
};

// The options that a new guest made of another has; with `needs` (may be null) only together with that one.
void AddCloneOptions(CLI::App& verb, CloneWords& words, CLI::Option* needs);
// Makes it, waits for the end, and prints what came of it.
absl::Status CloneGuest(Session& session, const CloneWords& words);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_CLONE_H_
