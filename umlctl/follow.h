#ifndef UMLD_UMLCTL_FOLLOW_H_
#define UMLD_UMLCTL_FOLLOW_H_

#include <string>

#include "umlctl/session.h"

namespace umld::umlctl {

// What a service manager runs as a guest: starts it (running already is fine), says READY=1 once it runs, and stays
// until it no longer does, however often umld restarts meanwhile. `name` is "guests/web1".
// OK: it stopped in order. kAborted with reason kGuestCrashed: it crashed, and why. kNotFound: it was deleted.
absl::Status StartAndFollow(Session& session, const std::string& name);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_FOLLOW_H_
