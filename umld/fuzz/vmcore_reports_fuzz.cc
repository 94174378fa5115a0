// libFuzzer: whatever a vmcore that was taken over says on its socket (0), or writes into its status (1) and exit (2)
// records: the first byte is which. What umld makes of it is a guest that every client can read.
// Links with base/byte_size.cc base/status.cc base/utf8.cc devices/spec_text.cc devices/console/console_spec.cc
// Links with devices/disk/disk_spec.cc devices/nic/nic_fields.cc devices/nic/nic_spec.cc
// Links with proto/google/rpc/status.proto proto/umld/v1/resources.proto
// Links with proto/vmcore/vmcore.proto umld/console_wish.cc umld/guest_proto.cc umld/nic_row.cc umld/nic_wish.cc
// Links with umld/vmcore_wire.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "umld/guest_table.h"
#include "umld/vmcore_wire.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// A string that is no UTF-8 would make the whole message unreadable.
void CheckReadable(const umld::GuestView& view) {
  umld::v1::Guest written, read;
  ToProto(view, "/state", "/run", /*summary=*/false, &written);
  Require(read.ParseFromString(written.SerializeAsString()));
}

void CheckConfig(const umld::vmcore::v1::GuestConfig& config, umld::GuestView view) {
  const umld::state::GuestRow before = view.row;
  const bool taken = umld::TakeDevices(config, &view.row).ok();
  Require(taken ? view.row.version == config.etag() : view.row == before);
  Require(view.row.disks.size() <= 16);
  CheckReadable(view);
}

void CheckFacts(const umld::vmcore::v1::Facts& facts) {
  umld::GuestView view;
  view.row.name = "web1";
  view.alive = true;
  view.facts = facts;
  CheckReadable(view);
  CheckConfig(facts.config(), view);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 1) {
    if (const auto facts = umld::DecodeVmcoreFacts(bytes); facts.ok()) CheckFacts(*facts);
    return 0;
  }
  if (data[0] % 3 == 2) {
    const auto exit = umld::DecodeVmcoreExit(bytes);
    if (!exit.ok()) return 0;
    umld::GuestView view;
    view.row.last_exit = umld::ToRow(*exit);
    CheckReadable(view);
    CheckConfig(exit->config(), view);
    return 0;
  }
  const auto frame = umld::DecodeVmcoreFrame(bytes);
  if (!frame.ok()) return 0;
  const auto reply = umld::FromReply(frame->reply());
  Require(reply.ok() == !frame->reply().has_error());
  if (frame->reply().has_facts()) CheckFacts(frame->reply().facts());
  if (frame->event().has_facts()) CheckFacts(frame->event().facts());
  if (frame->event().has_rebooted()) CheckFacts(frame->event().rebooted().facts());
  return 0;
}
