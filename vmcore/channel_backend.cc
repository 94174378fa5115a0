#include "vmcore/channel_backend.h"

#include "base/status.h"
#include "vmcore/port_channel.h"
#include "vmcore/terminal_channel.h"

namespace umld::vmcore {

using devices::ConsoleChannel;

absl::StatusOr<std::unique_ptr<ChannelBackend>> OpenChannel(EventLoop* loop, Console* console,
                                                            const ConsoleChannel& channel, bool input, bool output) {
  switch (channel.kind) {
    case ConsoleChannel::Kind::kNone:
    case ConsoleChannel::Kind::kNull:
    case ConsoleChannel::Kind::kXterm:
      return nullptr;
    case ConsoleChannel::Kind::kFd:
      RETURN_IF_ERROR(devices::CheckConsoleFd(channel));
      return nullptr;
    case ConsoleChannel::Kind::kPty:
    case ConsoleChannel::Kind::kPts:
      return TerminalChannel::OpenPts(loop, console, devices::PrintConsoleChannel(channel));
    case ConsoleChannel::Kind::kTty:
      return TerminalChannel::OpenTty(loop, console, channel.path, input, output);
    case ConsoleChannel::Kind::kPort:
      return PortChannel::Open(loop, console, channel, input, output);
  }
  return nullptr;
}

}  // namespace umld::vmcore
