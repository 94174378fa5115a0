// libFuzzer: whatever a telnet client sends, in whatever pieces, the same is heard, and the answer is bounded.
// Links with devices/console/telnet.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "devices/console/telnet.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  umld::devices::Telnet whole, parts;
  std::string input, reply, input_of_parts, reply_of_parts;
  whole.Receive(bytes, &input, &reply);
  for (char c : bytes) parts.Receive(absl::string_view(&c, 1), &input_of_parts, &reply_of_parts);
  uint16_t rows = 0, columns = 0;
  const bool sized = whole.TakeSize(&rows, &columns);
  const bool good = input == input_of_parts && reply == reply_of_parts && input.size() <= size &&
                    reply.size() <= 8 * size && (!sized || (rows != 0 && columns != 0)) &&
                    whole.Encode(bytes).size() <= 2 * size;
  if (!good) std::abort();
  return 0;
}
