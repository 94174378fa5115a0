// libFuzzer: every device spec, from any bytes. What a parser accepts must print to something that it reads as the
// same; what it refuses must be refused in words.
// Links with base/byte_size.cc base/status.cc base/utf8.cc devices/spec_text.cc devices/console/console_spec.cc
// Links with devices/disk/disk_spec.cc devices/memory/memory_spec.cc devices/nic/nic_fields.cc devices/nic/nic_spec.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/memory/memory_spec.h"
#include "devices/nic/nic_spec.h"

namespace {

using namespace umld::devices;  // NOLINT: all of it is under test

void Require(bool holds) {
  if (!holds) std::abort();
}

template <typename Parse, typename Print>
void RoundTrip(absl::string_view text, Parse parse, Print print) {
  const auto first = parse(text);
  if (!first.ok()) return Require(!first.status().message().empty());
  const std::string printed = print(*first);
  const auto second = parse(printed);
  Require(second.ok() && *second == *first && print(*second) == printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  RoundTrip(text, ParseDiskSpec, PrintDiskSpec);
  RoundTrip(text, ParseDiskName, DiskName);
  RoundTrip(text, ParseConsoleSpec, PrintConsoleSpec);
  RoundTrip(text, ParseConsoleName, ConsoleName);
  RoundTrip(text, ParseNicSpec, PrintNicSpec);
  RoundTrip(text, ParseMac, [](const std::string& mac) { return mac; });
  RoundTrip(text, ParseMemory, [](uint64_t bytes) { return PrintMemoryArgument(bytes).substr(4); });
  ConsoleChannel in, out;
  if (ParseConsoleChannels(text, &in, &out).ok()) {
    ConsoleChannel in2, out2;
    Require(ParseConsoleChannels(PrintConsoleValue(in, out), &in2, &out2).ok() && in == in2 && out == out2);
  }
  (void)ParseConsoleAssignment(text);
  (void)ParseMemoryChange(text);
  return 0;
}
