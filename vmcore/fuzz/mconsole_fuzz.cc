// libFuzzer: whatever datagrams a guest's kernel sends as answers to mconsole commands and as notifications. What comes
// of them is bounded, and text that fits into a message.
// Links with base/status.cc base/utf8.cc vmcore/exit_reason.cc vmcore/mconsole_wire.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "base/utf8.h"
#include "vmcore/exit_reason.h"
#include "vmcore/mconsole_wire.h"

namespace {

using namespace umld::vmcore;  // NOLINT: all of it is under test

void Require(bool holds) {
  if (!holds) std::abort();
}

// A byte, and another, say how long a datagram is, and it follows.
absl::string_view NextDatagram(absl::string_view* input) {
  const size_t length = static_cast<unsigned char>((*input)[0]) * size_t{4} + (input->size() > 1 ? (*input)[1] & 3 : 0);
  input->remove_prefix(input->size() > 1 ? 2 : 1);
  const absl::string_view datagram = input->substr(0, length);
  input->remove_prefix(datagram.size());
  return datagram;
}

void CheckLine(const std::string& line) {
  Require(line.size() <= 1000);
  for (char c : line) Require(absl::ascii_isprint(static_cast<unsigned char>(c)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input(reinterpret_cast<const char*>(data), size);
  MconsoleAnswerReader reader;
  while (!input.empty()) {
    const absl::string_view datagram = NextDatagram(&input);
    const size_t before = reader.answer().text.size();
    if (reader.Take(datagram)) {
      Require(!reader.empty() && umld::IsUtf8(reader.answer().text));
      CheckLine(OneCleanLine(reader.answer().text));
      reader = {};
    } else {
      Require(reader.answer().text.size() <= before + datagram.size());
      Require(reader.answer().text.size() <= kMaxMconsoleAnswer);
    }
    const auto notification = ParseMconsoleNotification(datagram);
    if (!notification.has_value()) continue;
    Require(notification->data.size() <= datagram.size());
    Require(umld::IsUtf8(umld::ToText(notification->data)));
    KernelEnd end;
    end.wait_status = 6;
    CheckLine(ClassifyEnd(end, true, notification->data, notification->data).reason);
  }
  return 0;
}
