#include "umld/console_wish.h"

#include "absl/strings/str_cat.h"

namespace umld {

const state::ConsoleRow* FindConsoleRow(const state::GuestRow& row, absl::string_view device) {
  for (const state::ConsoleRow& console : row.consoles) {
    if (console.device == device) return &console;
  }
  return nullptr;
}

void SetConsoleRow(state::GuestRow* row, const std::string& device, const std::string& channel) {
  for (state::ConsoleRow& console : row->consoles) {
    if (console.device != device) continue;
    console.channel = channel;
    return;
  }
  row->consoles.push_back({device, channel});
}

bool HasConsoleDefault(const state::GuestRow& row, const devices::ConsoleDevice& device) {
  if (FindConsoleRow(row, device.serial ? "ssl" : "con") != nullptr) return true;
  return !device.serial && device.unit <= 1;
}

std::string WantedConsole(const state::GuestRow& row, const devices::ConsoleDevice& device) {
  const state::ConsoleRow* own = FindConsoleRow(row, devices::ConsoleName(device));
  if (own == nullptr) own = FindConsoleRow(row, device.serial ? "ssl" : "con");
  if (own != nullptr) return own->channel;
  return HasConsoleDefault(row, device) ? kOwnChannels : "null";
}

std::string ConsoleWish(const v1::Console& console) {
  absl::string_view device = console.name();
  if (size_t slash = device.rfind('/'); slash != absl::string_view::npos) device.remove_prefix(slash + 1);
  return absl::StrCat(device, "=", console.channels());
}

}  // namespace umld
