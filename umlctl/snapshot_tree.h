#ifndef UMLD_UMLCTL_SNAPSHOT_TREE_H_
#define UMLD_UMLCTL_SNAPSHOT_TREE_H_

#include <ostream>
#include <vector>

#include "umld/v1/snapshots.pb.h"

namespace umld::umlctl {

// What came from what, guest by guest. One below another came from it; where several did, each has a branch of its own.
// The one that the guest's disks came from as last is marked. `snapshots`: all of the guests, oldest first.
void PrintSnapshotTree(const std::vector<v1::Snapshot>& snapshots, bool headers, std::ostream& out);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SNAPSHOT_TREE_H_
