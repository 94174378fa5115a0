#ifndef UMLD_VMCORE_CONSOLES_H_
#define UMLD_VMCORE_CONSOLES_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/token_bucket.h"
#include "devices/console/console_log.h"
#include "devices/console/console_pty.h"
#include "devices/console/console_spec.h"
#include "vmcore/change_queue.h"
#include "vmcore/channel_backend.h"
#include "vmcore/console.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The consoles and serial lines of one guest, over all its kernels. A line that goes somewhere has a Console, whose
// terminal the kernel keeps as `con3=fd:5`, so that its channels change without the guest's noticing. A few spare
// terminals are handed to every kernel for lines that come later.
// Thread: the loop's. Never blocks, but for the opening of a terminal or a port.
class Consoles {
 public:
  using Done = std::function<void(absl::Status)>;

  struct Options {
    uint32_t history_bytes = 0;     // of each console
    std::string log_dir;            // NAME.log goes there
    uint64_t log_rotate_bytes = 0;  // see ConsoleLog
    std::function<void()> nudge;    // see Console::OnDeaf
    std::function<bool()> at_rest;  // see Console::SetAtRest
  };
  Consoles(EventLoop* loop, Options options, EventLoop::Clock::duration deadline = std::chrono::seconds(10));
  Consoles(const Consoles&) = delete;
  Consoles& operator=(const Consoles&) = delete;

  // Brings all lines to what `config` says, before a kernel is started with it. Errors name the console, and leave what
  // is there in whatever state; kInvalidArgument: see ConsoleLines.
  absl::Status PrepareBoot(const v1::GuestConfig& config);
  // What the kernel's process inherits, in the order of TerminalFd. Valid until the next PrepareBoot.
  std::vector<int> terminals() const;

  // The kernel that was prepared for is there: `mconsole` outlives it, until KernelGone.
  void KernelStarted(MconsoleClient* mconsole) { mconsole_ = mconsole; }
  // Changes that are under way or wait get kCancelled, with `reason`.
  void KernelGone(absl::string_view reason);

  // Gives a line of the running kernel other channels; none takes it away. On failure all is as it was. kNotFound:
  // none, and there is no such line. kFailedPrecondition, DEVICE_BUSY: it is open inside, and the kernel would have to
  // close it. kResourceExhausted, NO_SPARE_TERMINAL. kDeadlineExceeded: the kernel does not answer. Otherwise as
  // OpenChannel.
  void Set(const devices::ConsoleSpec& spec, Done done);
  // Whether Set, run now, asks nothing of the kernel: the line goes somewhere, before and after.
  bool KeepsTerminal(const devices::ConsoleSpec& spec) const;
  // Runs `done` when everything asked before is done, or abandoned.
  void AfterAll(std::function<void()> done) { changes_.AfterAll(std::move(done)); }

  // There from the first PrepareBoot on.
  Console* con0() const;
  // nullptr: no such console, or one that goes nowhere. Valid as long as this object, whatever becomes of the line.
  Console* Find(absl::string_view name) const;

  // From now on the logs are in another folder, and begin with what is in the histories.
  void MoveLogs(const std::string& log_dir);

  // Takes what the guest has printed already.
  void Drain();
  // For the next kernel: what was typed for the last one is forgotten.
  void DropInput();
  // Tells all viewers that nothing will follow.
  void AnnounceEnd();

  // Facts.consoles and Facts.viewers.
  void AddFacts(v1::Facts* facts) const;

 private:
  struct Line {
    devices::ConsoleSpec spec;
    std::unique_ptr<Console> console;         // from the first time it went somewhere
    std::unique_ptr<ChannelBackend> in, out;  // `out` alone when one serves both
    int kernel_fd = -1;                       // the terminal that the kernel has there; -1: null or none
  };
  struct Spare {
    int kernel_fd = -1;
    std::unique_ptr<devices::ConsolePty> terminal;
  };

  Line& LineOf(const devices::ConsoleDevice& device);
  Console* ConsoleOf(const devices::ConsoleDevice& device, Line* line);
  absl::Status OpenChannels(const devices::ConsoleSpec& spec, Line* line);
  void CloseChannels(Line* line);
  void TopUpSpares();

  void Run(const devices::ConsoleSpec& spec);
  void AddTerminal(const devices::ConsoleSpec& spec);
  void TakeSpareBack(const devices::ConsoleSpec& before, int kernel_fd);
  void Remove(const devices::ConsoleDevice& device);
  void SetNull(const devices::ConsoleSpec& spec);
  // Asks the kernel to configure or remove a line; `then` gets its refusal in words.
  void Ask(const devices::ConsoleDevice& device, const std::string& command, const std::string& outcome, Done then);

  EventLoop* loop_;
  Options options_;
  EventLoop::Clock::duration deadline_;
  MconsoleClient* mconsole_ = nullptr;
  TokenBucket log_allowance_{devices::ConsoleLog::kBytesPerSecond, devices::ConsoleLog::kBurstBytes};
  std::map<devices::ConsoleDevice, Line> lines_;
  std::vector<Spare> spares_;
  size_t given_ = 0;  // spares that the running kernel began with
  ChangeQueue changes_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CONSOLES_H_
