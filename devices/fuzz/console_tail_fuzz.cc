// libFuzzer: whatever a guest has written on its console, its last lines are text that may be shown anywhere. The first
// byte says how many lines.
// Links with base/utf8.cc devices/console/printable.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/utf8.h"
#include "devices/console/printable.h"

namespace {

using namespace umld::devices;  // NOLINT: all of it is under test

void Require(bool holds) {
  if (!holds) std::abort();
}

// U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069.
bool TurnsOrBreaks(unsigned char second, unsigned char third) {
  if (second == 0x80) return third == 0x8e || third == 0x8f || (third >= 0xa8 && third <= 0xae);
  return second == 0x81 && third >= 0xa6 && third <= 0xa9;
}

void CheckLine(const std::string& line) {
  Require(!line.empty() && line.size() <= kMaxPrintableLine && umld::IsUtf8(line));
  for (size_t i = 0; i < line.size(); ++i) {
    const auto at = [&](size_t n) { return static_cast<unsigned char>(line[n]); };
    Require(at(i) >= 0x20 && at(i) != 0x7f);
    Require(at(i) != 0xc2 || at(i + 1) >= 0xa0);  // C1
    Require(at(i) != 0xe2 || !TurnsOrBreaks(at(i + 1), at(i + 2)));
  }
  Require(LastPrintableLines(line, 9) == std::vector<std::string>{line});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<std::string> lines = LastPrintableLines(text, data[0]);
  Require(lines.size() <= data[0]);
  for (const std::string& line : lines) CheckLine(line);
  // The last ones of all.
  const std::vector<std::string> all = LastPrintableLines(text, size);
  Require(all.size() >= lines.size() && std::vector<std::string>(all.end() - lines.size(), all.end()) == lines);
  return 0;
}
