#ifndef UMLD_UMLD_NIC_COUNTERS_H_
#define UMLD_UMLD_NIC_COUNTERS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "umld/guest_table.h"
#include "umld/v1/resources.pb.h"

namespace umld {

// Fills in the counters of the interfaces of `guest` that are plugged and pass all through a tap: read in the network
// namespace of its supervisor, and turned round, for what the tap sends the guest receives. Reads one file of /proc,
// and does not wait for a guest.
void FillNicCounters(const GuestView& view, v1::Guest* guest);
void FillNicCounters(const GuestView& view, v1::Nic* nic);

// The line of one interface in the text of /proc/net/dev; false: it is not there. Pure.
bool ReadCounters(absl::string_view text, absl::string_view interface, v1::NicCounters* counters);

}  // namespace umld

#endif  // UMLD_UMLD_NIC_COUNTERS_H_
