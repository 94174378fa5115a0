#ifndef UMLD_UMLCTL_SERVICE_NOTIFY_H_
#define UMLD_UMLCTL_SERVICE_NOTIFY_H_

#include "absl/strings/string_view.h"

namespace umld::umlctl {

// Tells the service manager that started us (NOTIFY_SOCKET), in sd_notify(3)'s words: "READY=1\nSTATUS=...". Does
// nothing without one. Written out because libsystemd would cost every start of umlctl more than this.
void NotifyService(absl::string_view message);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SERVICE_NOTIFY_H_
