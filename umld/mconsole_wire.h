#ifndef UMLD_UMLD_MCONSOLE_WIRE_H_
#define UMLD_UMLD_MCONSOLE_WIRE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// mconsole's datagrams as the kernel's side speaks them, version 2, native byte order. Pure.

struct MconsoleRequest {
  std::string command;
  // Not empty: what a request that is not understood is answered with, and nothing is run.
  std::string refusal;
  bool raw_refusal = false;  // for clients of version 0, which read plain text
};
MconsoleRequest DecodeMconsoleRequest(absl::string_view datagram);

// `text` cut into as many datagrams as it takes, the error on each of them; at least one.
std::vector<std::string> EncodeMconsoleReply(int32_t err, absl::string_view text);

// "config ubdb=swap" with the paths made absolute as seen from `folder`; every other command as it is.
std::string ResolveDiskPaths(const std::string& command, const std::string& folder);

}  // namespace umld

#endif  // UMLD_UMLD_MCONSOLE_WIRE_H_
