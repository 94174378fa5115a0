#ifndef UMLD_UMLD_GUEST_SYNC_H_
#define UMLD_UMLD_GUEST_SYNC_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "umld/guest_runtime.h"
#include "umld/guest_table.h"

namespace umld {

// Has a running guest's kernel write out what it has in memory. True: it said that all is written, which only its
// messages tell (`con0_log` is where they go), and its disks and journals have come to rest since, or had two seconds
// for it. One that is told to be quiet is made to say it, and is as quiet as before afterwards. False: it did not say
// so within 10 s. In the guest's line; blocks.
bool SyncGuest(GuestRuntime* runtime, const GuestTable& table, const GuestPtr& guest, const std::string& con0_log);

// How much a kernel says, of the text of its /proc/sys/kernel/printk.
struct PrintkLevels {
  int console = 0;   // messages below this level are shown
  int messages = 0;  // the level of those that name none
};
// nullopt: it is no such text.
std::optional<PrintkLevels> ParsePrintkLevels(absl::string_view text);

// What a guest's UML disks do, of the text of its /proc/diskstats.
struct DiskActivity {
  uint64_t done = 0;       // writes that are finished, of all disks together
  uint64_t in_flight = 0;  // reads and writes that are not
};
// nullopt: it is no such text, or tells of no UML disk.
std::optional<DiskActivity> ParseDiskActivity(absl::string_view text);

// How many tasks are running or ready to, of the text of its /proc/loadavg; nullopt: it is no such text.
std::optional<int> ParseRunning(absl::string_view text);

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_SYNC_H_
