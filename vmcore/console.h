#ifndef UMLD_VMCORE_CONSOLE_H_
#define UMLD_VMCORE_CONSOLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/token_bucket.h"
#include "devices/console/console_history.h"
#include "devices/console/console_log.h"
#include "devices/console/console_pty.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// Where the frames of one viewer go: its connection.
class ViewerLink {
 public:
  virtual ~ViewerLink() = default;
  // False: it does not read at present; nothing was sent, and Console::Writable is called once it does.
  virtual bool TrySend(const v1::ConsoleData& data) = 0;
};

// One console of the guest: its pty, its history and log, and the people who look at it. Always drains the pty, since
// the kernel drops its own messages when it is full. A viewer that does not keep up loses bytes and costs nothing.
// One viewer writes at a time. A console that the guest has no more keeps its history, and may get a pty again.
// Thread: the loop's. Never blocks but for the host's page cache.
class Console {
 public:
  using ViewerId = uint64_t;

  struct Options {
    std::string name;  // "con0"
    uint32_t history_bytes = 0;
    std::string log_path;
    uint64_t log_rotate_bytes = 0;
    TokenBucket* log_allowance = nullptr;  // see ConsoleLog; outlives the console
  };
  // With no pty yet. A log that cannot be opened is told on stderr and does without.
  static std::unique_ptr<Console> Create(EventLoop* loop, const Options& options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  const std::string& name() const { return name_; }

  // The console begins, with a pty that nothing was read from.
  void Begin(std::unique_ptr<devices::ConsolePty> pty);
  // It has a pty: between Begin and End.
  bool active() const { return pty_ != nullptr; }
  // It ends: its viewers are told, and the pty is the caller's.
  std::unique_ptr<devices::ConsolePty> End();
  // -1: not active.
  int slave() const { return pty_ == nullptr ? -1 : pty_->slave(); }
  // What is typed is dropped unless `input`, what is printed unless `output`.
  void SetDirections(bool input, bool output);

  const devices::ConsoleHistory& history() const { return history_; }
  // At most `max` of the last bytes since `from`.
  std::string Tail(uint64_t from, size_t max) const;

  // Runs after each piece of output, when it is in the history.
  void OnOutput(std::function<void()> output) { output_ = std::move(output); }
  // Runs when the kernel may have missed the signal that the pty wants to be read or written, and has to be told to
  // look (see Drain and Pump).
  void OnDeaf(std::function<void()> deaf) { deaf_ = std::move(deaf); }
  // Tells whether the guest is at rest, for what is typed (ConsolePty::PumpInput). Without it, it never is.
  void SetAtRest(std::function<bool()> at_rest) { at_rest_ = std::move(at_rest); }
  // What is printed goes to another log from now on, after all that the history has.
  void MoveLog(const std::string& path, uint64_t rotate_bytes);
  // Takes what the guest has printed already.
  void Drain();
  // For the next kernel: what was typed for the last one is forgotten.
  void DropInput();
  // Tells all viewers that nothing will follow.
  void AnnounceEnd();

  struct Attachment {
    ViewerId viewer = 0;
    uint64_t offset = 0;  // of the first byte that will be sent
    bool writer = false;
  };
  // `link` outlives the attachment. Nothing is sent before the first Writable. The console is active.
  Attachment Attach(const v1::AttachConsole& request, ViewerLink* link);
  // A terminal that always belongs to the console: sees everything from now on, counts as no viewer and gets no
  // notices.
  ViewerId AttachTerminal(ViewerLink* link);
  // What was typed there: goes in whoever else writes.
  void ReceiveFromTerminal(absl::string_view bytes);
  void Detach(ViewerId viewer);
  // What its user typed, and the size of his window.
  void Receive(ViewerId viewer, const v1::ConsoleData& data);
  // Its link can take more.
  void Writable(ViewerId viewer);

  size_t viewers() const;
  // Name, bytes, viewers, and the pty's path.
  v1::ConsoleFacts facts() const;

 private:
  struct Viewer {
    ViewerLink* link = nullptr;
    uint64_t offset = 0;
    bool read_only = false;
    bool terminal = false;        // see AttachTerminal
    bool shows_input = false;     // wants to see what is typed
    bool started = false;         // its first Writable has come
    bool blocked = false;         // waits for Writable
    bool told_of_writer = false;  // that its input is dropped
    uint32_t rows = 0, columns = 0;
    std::string input;   // typed, still to be shown
    std::string notice;  // still to be sent
    bool eof = false;    // the same
    bool eof_sent = false;
  };

  Console(EventLoop* loop, const Options& options);

  void SendTo(ViewerId id, Viewer* viewer);
  void Notify(ViewerId id, absl::string_view notice);
  void MakeWriter(ViewerId id);
  void ApplySize(const Viewer& viewer);
  void Type(ViewerId id, Viewer* viewer, absl::string_view bytes);
  bool Enqueue(absl::string_view bytes);
  void Pump();
  // At once, or a little later if there may be more by then.
  void SendSoon();

  EventLoop* loop_;
  std::string name_;
  devices::ConsoleHistory history_;
  std::unique_ptr<devices::ConsolePty> pty_;
  bool input_ = true, output_wanted_ = true;
  TokenBucket* log_allowance_;
  std::unique_ptr<devices::ConsoleLog> log_;
  std::function<void()> output_;
  std::function<void()> deaf_;
  std::function<bool()> at_rest_ = [] { return false; };
  std::map<ViewerId, Viewer> viewers_;
  ViewerId next_viewer_ = 1;
  ViewerId writer_ = 0;  // 0: nobody
  EventLoop::TimerId pump_timer_ = 0;
  size_t unsent_ = 0;  // printed since `sent_`, when the viewers were last sent all there was
  EventLoop::Clock::time_point sent_;
  EventLoop::TimerId send_timer_ = 0;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_CONSOLE_H_
