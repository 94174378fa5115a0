// libFuzzer: whatever bytes of a guest's are shown on a terminal, in whatever pieces they come: nothing that it obeys
// but a new line and a tab. The first byte says where a piece ends.
// Links with base/utf8.cc umlctl/printable.cc
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "base/utf8.h"
#include "umlctl/printable.h"

namespace {

using namespace umld::umlctl;  // NOLINT: all of it is under test

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckHarmless(absl::string_view text) {
  Require(umld::IsUtf8(text));
  unsigned char before = 0;
  for (unsigned char byte : text) {
    Require((byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\t');
    Require(before != 0xc2 || byte >= 0xa0);  // C1
    before = byte;
  }
}

std::string InPieces(absl::string_view bytes, size_t most) {
  PrintableStream stream;
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += most) out += stream.Feed(bytes.substr(at, most));
  out += stream.Finish();
  Require(stream.Feed("x") == "x" && stream.Finish().empty());
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string shown = Printable(bytes);
  CheckHarmless(shown);
  Require(shown.size() <= 2 * bytes.size());
  Require(Printable(shown) == shown);
  Require(InPieces(bytes, 1) == shown && InPieces(bytes, std::max<size_t>(data[0], 1)) == shown);
  // Each piece is shown as it comes.
  PrintableStream stream;
  const size_t split = std::min<size_t>(data[0], bytes.size());
  CheckHarmless(stream.Feed(bytes.substr(0, split)));
  CheckHarmless(stream.Feed(bytes.substr(split)));
  CheckHarmless(stream.Finish());
  const std::string line = PrintableLine(bytes);
  CheckHarmless(line);
  Require(line.size() == shown.size() && line.find_first_of("\n\t") == std::string::npos);
  return 0;
}
