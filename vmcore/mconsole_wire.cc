#include "vmcore/mconsole_wire.h"

#include <algorithm>
#include <cstring>

namespace umld::vmcore {

bool MconsoleAnswerReader::Take(absl::string_view datagram) {
  MconsoleReplyHeader header = {};
  if (datagram.size() < sizeof(header)) return false;
  std::memcpy(&header, datagram.data(), sizeof(header));
  absl::string_view text = datagram.substr(sizeof(header));
  text = text.substr(0, std::min<size_t>(header.length, text.size()));
  if (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  if (empty_) answer_.error = header.error;
  empty_ = false;
  // These bytes end up in messages that have to be valid UTF-8, and on terminals.
  for (char byte : text.substr(0, kMaxMconsoleAnswer - answer_.text.size())) {
    const bool is_text = byte >= ' ' && byte != '\x7f';
    answer_.text.push_back(is_text || byte == '\n' || byte == '\t' ? byte : '?');
  }
  return header.more == 0;
}

std::optional<MconsoleNotification> ParseMconsoleNotification(absl::string_view datagram) {
  MconsoleNotifyHeader header = {};
  if (datagram.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, datagram.data(), sizeof(header));
  if (header.magic != kMconsoleMagic || header.type > static_cast<uint32_t>(MconsoleNotifyType::kUser)) {
    return std::nullopt;
  }
  const absl::string_view data = datagram.substr(sizeof(header));
  return MconsoleNotification{static_cast<MconsoleNotifyType>(header.type),
                              data.substr(0, std::min<size_t>(header.length, data.size()))};
}

std::string MconsoleAnnouncement(const std::string& path) {
  const MconsoleNotifyHeader header = {kMconsoleMagic, kMconsoleVersion,
                                       static_cast<uint32_t>(MconsoleNotifyType::kSocket),
                                       static_cast<uint32_t>(path.size() + 1)};
  std::string datagram(reinterpret_cast<const char*>(&header), sizeof(header));
  return datagram.append(path.c_str(), path.size() + 1);
}

}  // namespace umld::vmcore
