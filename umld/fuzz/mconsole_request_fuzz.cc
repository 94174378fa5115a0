// libFuzzer: any datagram that arrives where uml_mconsole sends its commands, and the answer to it.
// Links with base/status.cc base/utf8.cc devices/spec_text.cc devices/disk/disk_spec.cc umld/mconsole_wire.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/utf8.h"
#include "devices/disk/disk_spec.h"
#include "umld/mconsole_wire.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

uint32_t NumberAt(const std::string& datagram, size_t at) {
  uint32_t number = 0;
  std::memcpy(&number, datagram.data() + at, sizeof(number));
  return number;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const umld::MconsoleRequest request = umld::DecodeMconsoleRequest(bytes);
  Require(request.refusal.empty() || request.command.empty());
  Require(request.command.size() <= 511 && umld::IsUtf8(request.command));
  const std::string resolved = umld::ResolveDiskPaths(request.command, "/folder");
  Require(resolved.size() <= request.command.size() + 16);
  Require(umld::ResolveDiskPaths(resolved, "/another") == resolved || !absl::StrContains(request.command, '='));
  absl::string_view spec = resolved;
  if (absl::ConsumePrefix(&spec, "config ")) (void)umld::devices::ParseDiskSpec(spec);

  std::string joined;
  const std::vector<std::string> reply = umld::EncodeMconsoleReply(-1, bytes);
  for (const std::string& datagram : reply) {
    Require(datagram.size() == 524 && NumberAt(datagram, 8) >= 1 && NumberAt(datagram, 8) <= 512);
    Require((NumberAt(datagram, 4) == 0) == (&datagram == &reply.back()));
    joined.append(datagram, 12, NumberAt(datagram, 8) - 1);
  }
  Require(joined == bytes);
  return 0;
}
