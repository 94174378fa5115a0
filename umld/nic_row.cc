#include "umld/nic_row.h"

#include "absl/status/statusor.h"

namespace umld {

const state::NicRow* FindNicRow(const std::vector<state::NicRow>& nics, absl::string_view device) {
  for (const state::NicRow& nic : nics) {
    if (nic.device == device) return &nic;
  }
  return nullptr;
}

void AddNicRow(std::vector<state::NicRow>* nics, const state::NicRow& row) {
  absl::StatusOr<devices::NicDevice> device = devices::ParseNicName(row.device);
  auto place = nics->begin();
  for (; place != nics->end() && device.ok(); ++place) {
    absl::StatusOr<devices::NicDevice> there = devices::ParseNicName(place->device);
    if (there.ok() && *device < *there) break;
  }
  nics->insert(place, row);
}

state::NicRow ToNicRow(const devices::NicSpec& spec) {
  return {devices::NicName(spec.device), devices::PrintNicSpec(spec), spec.mac};
}

}  // namespace umld
