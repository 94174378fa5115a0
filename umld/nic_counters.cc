#include "umld/nic_counters.h"

#include <array>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"

namespace umld {
namespace {

constexpr size_t kMaxText = size_t{4} << 20;

std::string TextOf(const GuestView& view) {
  if (!view.alive || view.facts.vmcore().pid() <= 0) return "";
  return ReadFile(absl::StrCat("/proc/", view.facts.vmcore().pid(), "/net/dev"), kMaxText).value_or("");
}

void Fill(absl::string_view text, v1::Nic* nic) {
  // Not HYBRID: what its raw socket receives does not pass through the tap.
  const bool has_tap = nic->transport() == v1::Nic::TUNTAP || nic->transport() == v1::Nic::TAP;
  if (!nic->plugged() || !has_tap) return;
  v1::NicCounters counters;
  if (ReadCounters(text, nic->interface(), &counters)) *nic->mutable_counters() = counters;
}

}  // namespace

void FillNicCounters(const GuestView& view, v1::Guest* guest) {
  if (guest->nics().empty()) return;
  const std::string text = TextOf(view);
  for (v1::Nic& nic : *guest->mutable_nics()) Fill(text, &nic);
}

void FillNicCounters(const GuestView& view, v1::Nic* nic) { Fill(TextOf(view), nic); }

bool ReadCounters(absl::string_view text, absl::string_view interface, v1::NicCounters* counters) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripLeadingAsciiWhitespace(line);
    if (!absl::ConsumePrefix(&line, interface) || !absl::ConsumePrefix(&line, ":")) continue;
    const std::vector<absl::string_view> columns = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    // bytes and packets, first in and then out, as the host sees it.
    std::array<uint64_t, 4> numbers = {};
    const std::array<size_t, 4> places = {0, 1, 8, 9};
    if (columns.size() < 10) return false;
    for (size_t i = 0; i < places.size(); ++i) {
      if (!absl::SimpleAtoi(columns[places[i]], &numbers[i])) return false;
    }
    counters->set_sent_bytes(numbers[0]);
    counters->set_sent_packets(numbers[1]);
    counters->set_received_bytes(numbers[2]);
    counters->set_received_packets(numbers[3]);
    return true;
  }
  return false;
}

}  // namespace umld
