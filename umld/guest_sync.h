#ifndef UMLD_UMLD_GUEST_SYNC_H_
#define UMLD_UMLD_GUEST_SYNC_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"

namespace umld {

// Has a running guest's kernel write out what it has in memory. True: it said that all is written, which only its
// messages tell (`con0_log` is where they go). One that is told to be quiet is made to say it, and is as quiet as
// before afterwards. False: it did not say so within 10 s. In the guest's line; blocks.
bool SyncGuest(GuestRuntime* runtime, const GuestTable& table, const GuestPtr& guest, const std::string& con0_log);

// How much a kernel says, of the text of its /proc/sys/kernel/printk.
struct PrintkLevels {
  int console = 0;   // messages below this level are shown
  int messages = 0;  // the level of those that name none
};
// nullopt: it is no such text.
std::optional<PrintkLevels> ParsePrintkLevels(absl::string_view text);

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_SYNC_H_
