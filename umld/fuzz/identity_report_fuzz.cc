// libFuzzer: whatever the guest reports that renews a clone's identity. What comes of it is in umld's own words.
// Links with base/status.cc base/utf8.cc umld/identity_report.cc
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "umld/identity_report.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckWords(absl::string_view words) {
  Require(!words.empty() && words.size() < 300);
  for (unsigned char c : words) Require(absl::ascii_isprint(c));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view report(reinterpret_cast<const char*>(data), size);
  const auto notes = umld::ReadIdentityReport(report, "web2");
  if (notes.ok()) {
    Require(!notes->empty() && notes->size() <= 5);
    for (const std::string& note : *notes) CheckWords(note);
    return 0;
  }
  CheckWords(notes.status().message());
  const std::string reason = umld::GetErrorDetail(notes.status()).reason;
  Require(reason == "IDENTITY_UNCHANGED" || reason == "TOOL_MISSING");
  return 0;
}
