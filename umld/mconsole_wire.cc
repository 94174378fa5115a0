#include "umld/mconsole_wire.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace umld {
namespace {

constexpr uint32_t kMagic = 0xcafebabe;
constexpr uint32_t kVersion = 2;
constexpr size_t kMaxData = 512;

struct Header {
  uint32_t first = 0;   // request: magic; reply: error
  uint32_t second = 0;  // request: version; reply: more
  uint32_t length = 0;
};

MconsoleRequest Refuse(std::string why, bool raw) {
  MconsoleRequest request;
  request.refusal = std::move(why);
  request.raw_refusal = raw;
  return request;
}

std::string Absolute(absl::string_view path, const std::string& folder) {
  if (path.empty() || path[0] == '/' || folder.empty()) return std::string(path);
  return absl::StrCat(folder, folder.back() == '/' ? "" : "/", path);
}

}  // namespace

MconsoleRequest DecodeMconsoleRequest(absl::string_view datagram) {
  Header header;
  if (datagram.size() >= sizeof(header)) std::memcpy(&header, datagram.data(), sizeof(header));
  if (header.first != kMagic) {
    return Refuse("ERR Version 0 mconsole clients are not supported by this driver", /*raw=*/true);
  }
  if (header.second != kVersion) return Refuse("This driver only supports version 2 clients", false);
  if (header.length >= kMaxData) return Refuse("Request too large", false);
  absl::string_view data = datagram.substr(sizeof(header));
  // A length that claims more than was sent gets what was sent, never what was there before.
  data = data.substr(0, std::min<size_t>(header.length, data.size()));
  data = data.substr(0, data.find('\0'));
  // It goes on in messages, whose text has to be UTF-8.
  if (!IsUtf8(data)) return Refuse("the command is not UTF-8 text", false);
  MconsoleRequest request;
  request.command = std::string(data);
  return request;
}

std::vector<std::string> EncodeMconsoleReply(int32_t err, absl::string_view text) {
  std::vector<std::string> datagrams;
  do {
    const absl::string_view part = text.substr(0, kMaxData - 1);
    text.remove_prefix(part.size());
    Header header;
    std::memcpy(&header.first, &err, sizeof(err));
    header.second = text.empty() ? 0 : 1;
    header.length = static_cast<uint32_t>(part.size() + 1);
    std::string datagram(sizeof(header) + kMaxData, '\0');
    std::memcpy(datagram.data(), &header, sizeof(header));
    std::memcpy(datagram.data() + sizeof(header), part.data(), part.size());
    datagrams.push_back(std::move(datagram));
  } while (!text.empty());
  return datagrams;
}

std::string ResolveDiskPaths(const std::string& command, const std::string& folder) {
  const size_t equals = command.find('=');
  if (!absl::StartsWith(command, "config ubd") || equals == std::string::npos) return command;
  const std::string value = command.substr(equals + 1);
  // What umld has is no path.
  if (value == "modules:" || absl::StartsWith(value, "volume:")) return command;
  std::string result = command.substr(0, equals + 1);
  // FILE, COW,BACKING or COW:BACKING; what follows a second comma is a serial number.
  size_t separator = value.find_first_of(",:");
  absl::StrAppend(&result, Absolute(value.substr(0, separator), folder));
  if (separator == std::string::npos) return result;
  const char mark = value[separator];
  const std::string rest = value.substr(separator + 1);
  const size_t serial = mark == ',' ? rest.find(',') : std::string::npos;
  absl::StrAppend(&result, std::string(1, mark), Absolute(rest.substr(0, serial), folder));
  if (serial != std::string::npos) absl::StrAppend(&result, rest.substr(serial));
  return result;
}

}  // namespace umld
