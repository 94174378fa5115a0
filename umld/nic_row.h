#ifndef UMLD_UMLD_NIC_ROW_H_
#define UMLD_UMLD_NIC_ROW_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "devices/nic/nic_spec.h"
#include "state/rows.h"

namespace umld {

// The rows of a guest's interfaces. All of these are pure.

// nullptr: there is no such row.
const state::NicRow* FindNicRow(const std::vector<state::NicRow>& nics, absl::string_view device);
// Adds it, in the order of devices.
void AddNicRow(std::vector<state::NicRow>* nics, const state::NicRow& row);
state::NicRow ToNicRow(const devices::NicSpec& spec);

}  // namespace umld

#endif  // UMLD_UMLD_NIC_ROW_H_
