#ifndef UMLD_UMLD_SNAPSHOT_VIEWS_H_
#define UMLD_UMLD_SNAPSHOT_VIEWS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "state/rows.h"
#include "umld/guest_table.h"
#include "umld/v1/snapshots.pb.h"

namespace umld {

// The names of snapshots by their ids.
using SnapshotNames = std::map<uint64_t, std::string>;
SnapshotNames NamesOf(const std::vector<state::SnapshotRow>& rows);

// "guests/web1/snapshots/before".
std::string SnapshotName(const GuestView& guest, const std::string& id);
// The snapshot as the API shows it; `names` has those of all that the guest has.
v1::Snapshot ToProto(const state::SnapshotRow& row, const GuestView& guest, const SnapshotNames& names);

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOT_VIEWS_H_
