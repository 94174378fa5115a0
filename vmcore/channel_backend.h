#ifndef UMLD_VMCORE_CHANNEL_BACKEND_H_
#define UMLD_VMCORE_CHANNEL_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "devices/console/console_spec.h"
#include "vmcore/console.h"

namespace umld::vmcore {

// Where a console goes beside the people who attach to it: a pts, a terminal of the host, a TCP port. Its end closes
// what it opened, and touches neither the console nor the guest. Thread: the loop's. Never blocks.
class ChannelBackend {
 public:
  virtual ~ChannelBackend() = default;
  // With what came of it: "pts:/dev/pts/10".
  virtual std::string reported() const = 0;
};

// Opens `channel` for one or both directions of `console`, which outlives it. nullptr: the channel needs nothing but
// the console itself (fd, xterm, null). kNotFound, kInvalidArgument, kPermissionDenied: the terminal.
// kFailedPrecondition, PORT_IN_USE: somebody listens there. kInvalidArgument: an fd that the kernel does not inherit.
absl::StatusOr<std::unique_ptr<ChannelBackend>> OpenChannel(EventLoop* loop, Console* console,
                                                            const devices::ConsoleChannel& channel, bool input,
                                                            bool output);

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CHANNEL_BACKEND_H_
