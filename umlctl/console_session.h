#ifndef UMLD_UMLCTL_CONSOLE_SESSION_H_
#define UMLD_UMLCTL_CONSOLE_SESSION_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "umlctl/client.h"

namespace umld::umlctl {

struct ConsoleOptions {
  std::string console;  // "guests/web1/consoles/con1"
  uint32_t history_bytes = 8192;
  bool read_only = false;
  bool take_over = false;
  // Without a terminal: how long the console must be silent after the end of the input.
  absl::Duration linger = absl::Seconds(1);
};

// Joins `in` and `out` to a guest's console until the guest ends, the input does, or ^] is typed; OK in all three.
// When `in` is a terminal it is put in raw mode meanwhile, its size is the console's, and a restart of umld is
// survived. `note` gets lines for the user; it is called from several threads, one at a time. Blocks. Thread: the main
// one (it catches signals).
absl::Status RunConsole(Client& client, const ConsoleOptions& options, int in, int out,
                        const std::function<void(const std::string&)>& note);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_CONSOLE_SESSION_H_
