#ifndef UMLD_UMLD_CLONE_PLAN_H_
#define UMLD_UMLD_CLONE_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "state/rows.h"
#include "umld/v1/services.pb.h"
#include "umld/volume_catalog.h"

namespace umld {

// A disk of the new guest. `row` has the source's path until the new one has been made.
struct ClonedDisk {
  state::DiskRow row;
  bool copied = false;  // writable: a copy of its own. Else both guests have the same file
  bool merged = false;  // the copy is of what the guest sees of COW and backing file together
};

// What a clone is to be: what the source has, less what two guests of a host must not both have.
struct ClonePlan {
  v1::CreateGuestRequest
      request;  // all but the disks; NICs without MACs and taps of their own, which are still to be made
  std::vector<ClonedDisk> disks;   // by unit
  std::vector<std::string> notes;  // for people: what is not as in the source
  std::optional<uint32_t> root;    // the unit that it boots from; nullopt: it cannot be told, or there is none
  std::string root_flags;          // with which it mounts that
};

// `snapshot`: the writable disks are those that it has; else those of the guest. Files of users that only they may open
// are not shared with a file of umld's own: such a COW file is merged. Pure.
ClonePlan PlanClone(const state::GuestRow& source, const state::SnapshotRow* snapshot, const std::string& new_name,
                    const VolumeCatalog& volumes);

// One line per tap whose name is new. Pure.
std::vector<std::string> TapNotes(const state::GuestRow& source, const state::GuestRow& clone);

}  // namespace umld

#endif  // UMLD_UMLD_CLONE_PLAN_H_
