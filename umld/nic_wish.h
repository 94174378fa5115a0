#ifndef UMLD_UMLD_NIC_WISH_H_
#define UMLD_UMLD_NIC_WISH_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "devices/nic/nic_spec.h"
#include "state/rows.h"
#include "umld/guest_table.h"
#include "umld/nic_row.h"
#include "umld/v1/resources.pb.h"

namespace umld {

// What umld adds to an interface that a user asks for, and what two guests must not both have.

// What the running kernel has; empty when none runs.
std::vector<state::NicRow> LiveNics(const GuestView& view);

// Fills in what is left open: a MAC ("02:...", locally administered, random), a tap ("tap" and the end of the MAC),
// uml_switch's usual socket. kInvalidArgument: a vde without its folder.
absl::StatusOr<devices::NicSpec> CompleteNic(devices::NicSpec spec);

// `own`: the other interfaces of the guest `guest_id` (0: a new one). kFailedPrecondition: a guest (named) has that MAC
// (MAC_IN_USE) or that tap (TAP_IN_USE). Pure.
absl::Status CheckNic(const devices::NicSpec& spec, const std::vector<state::NicRow>& own, uint64_t guest_id,
                      const std::vector<GuestView>& guests);

// From typed fields, checked as if it had been written. kInvalidArgument.
absl::StatusOr<devices::NicSpec> NicFromProto(const v1::Nic& nic);
// Without counters.
v1::Nic NicToProto(const GuestView& view, const state::NicRow& row, bool persistent);

}  // namespace umld

#endif  // UMLD_UMLD_NIC_WISH_H_
