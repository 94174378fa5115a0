#include "umlctl/console_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umlctl/printable.h"
#include "umlctl/terminal.h"

namespace umld::umlctl {
namespace {

constexpr char kDetachKey = 0x1d;  // ^]
constexpr size_t kInputChunk = 4096;
// Input that the daemon has not taken yet. More than that, and we stop reading the pipe (a terminal's is dropped).
constexpr size_t kMaxQueued = 64 * 1024;
constexpr absl::Duration kRestartPatience = absl::Seconds(30);
constexpr int kRetryMilliseconds = 200;
// How long the daemon may take to end the stream after we have said that we are done.
constexpr absl::Duration kHalfCloseGrace = absl::Seconds(5);

bool WriteAll(int fd, const std::string& data) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = write(fd, data.data() + done, data.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

// One attachment: a thread that reads the stream and one that writes it, so that neither a guest that takes no input
// nor one that floods us keeps the main thread from seeing ^].
class Attachment {
 public:
  Attachment(Client& client, const ConsoleOptions& options, uint32_t history_bytes, TerminalSize size, int out,
             const std::function<void(const std::string&)>& note)
      : read_only_(options.read_only),
        out_(out),
        note_(note),
        ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        stream_(client.AttachConsole()) {
    v1::AttachConsoleRequest request;
    auto& open = *request.mutable_open();
    open.set_console(options.console);
    open.set_history_bytes(history_bytes);
    open.set_read_only(options.read_only);
    open.set_take_over(options.take_over);
    if (size.rows != 0) {
      open.mutable_size()->set_rows(size.rows);
      open.mutable_size()->set_columns(size.columns);
    }
    queue_.push_back(std::move(request));
    reader_ = std::thread([this] { ReadLoop(); });
    writer_ = std::thread([this] { WriteLoop(); });
  }
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  ~Attachment() { End().IgnoreError(); }

  // Readable once the stream is over.
  int ended_fd() const { return ended_.get(); }
  bool HasRoom() {
    absl::MutexLock lock(&mutex_);
    return queued_bytes_ < kMaxQueued;
  }
  // All input is with the daemon.
  bool IsDrained() {
    absl::MutexLock lock(&mutex_);
    return queue_.empty() && !writing_;
  }
  // The daemon has attached it: what the console has said before follows.
  bool IsAttached() const { return attached_; }
  absl::Time last_output() const { return absl::FromUnixNanos(last_output_); }

  void SendInput(std::string data) {
    v1::AttachConsoleRequest request;
    *request.mutable_input() = std::move(data);
    Enqueue(std::move(request));
  }
  void SendSize(TerminalSize size) {
    v1::AttachConsoleRequest request;
    request.mutable_size()->set_rows(size.rows);
    request.mutable_size()->set_columns(size.columns);
    Enqueue(std::move(request));
  }
  // After the last input: the daemon ends the stream.
  void HalfClose() {
    absl::MutexLock lock(&mutex_);
    half_close_ = true;
  }
  // Detaches if that has not happened, and says why the stream ended; OK when it was us.
  absl::Status End() {
    if (!reader_.joinable()) return end_;
    const bool ours = !over_;
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    if (ours) stream_->Cancel();
    writer_.join();
    reader_.join();
    end_ = stream_->Finish();
    if (ours || output_gone_) end_ = absl::OkStatus();
    return end_;
  }

 private:
  void Enqueue(v1::AttachConsoleRequest request) {
    absl::MutexLock lock(&mutex_);
    queued_bytes_ += request.input().size();
    queue_.push_back(std::move(request));
  }

  void WriteLoop() {
    while (true) {
      v1::AttachConsoleRequest request;
      {
        absl::MutexLock lock(&mutex_);
        writing_ = false;
        mutex_.Await(absl::Condition(
            +[](Attachment* self) { return self->stop_ || self->half_close_ || !self->queue_.empty(); }, this));
        if (stop_) return;
        if (queue_.empty()) break;
        request = std::move(queue_.front());
        queue_.pop_front();
        queued_bytes_ -= request.input().size();
        writing_ = true;
      }
      if (!stream_->Write(request)) return;
    }
    stream_->WritesDone();
  }

  void ReadLoop() {
    v1::AttachConsoleResponse response;
    bool first = true;
    while (stream_->Read(&response)) {
      attached_ = true;
      if (response.lost_bytes() > 0) note_(absl::StrCat("note: ", response.lost_bytes(), " bytes were skipped here"));
      if (!response.notice().empty()) note_(absl::StrCat("note: ", PrintableLine(response.notice())));
      if (first && !response.writer() && !read_only_ && response.notice().empty()) {
        note_("note: somebody else writes here; you look on (--take-over to write)");
      }
      first = false;
      if (response.output().empty()) continue;
      last_output_ = absl::ToUnixNanos(absl::Now());
      if (!WriteAll(out_, response.output())) {
        output_gone_ = true;
        stream_->Cancel();
      }
    }
    over_ = true;
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(ended_.get(), &one, sizeof(one));
  }

  const bool read_only_;
  const int out_;
  const std::function<void(const std::string&)>& note_;
  const UniqueFd ended_;
  const std::unique_ptr<ConsoleStream> stream_;
  std::atomic<int64_t> last_output_{absl::ToUnixNanos(absl::Now())};
  std::atomic<bool> attached_{false};
  std::atomic<bool> over_{false};
  std::atomic<bool> output_gone_{false};

  absl::Mutex mutex_;
  std::deque<v1::AttachConsoleRequest> queue_;
  size_t queued_bytes_ = 0;
  bool writing_ = false;
  bool half_close_ = false;
  bool stop_ = false;

  absl::Status end_;
  std::thread reader_;
  std::thread writer_;
};

// The user's side: what is typed or piped, and the signals.
class Console {
 public:
  Console(const ConsoleOptions& options, int in, int out, bool is_terminal, TerminalSignals& signals,
          const std::function<void(const std::string&)>& note)
      : options_(options), in_(in), out_(out), is_terminal_(is_terminal), signals_(signals), note_(note) {}

  // Until the stream or the user ends it.
  absl::Status Attach(Client& client, uint32_t history_bytes) {
    Attachment attachment(client, options_, history_bytes, GetTerminalSize(in_), out_, note_);
    while (!detached_ && !Step(attachment)) {
    }
    return attachment.End();
  }

  // Waits for umld to come back; ^] is heard meanwhile.
  absl::Status Reattach(Client& client) {
    const absl::Time give_up = absl::Now() + kRestartPatience;
    while (true) {
      pollfd fds[] = {{in_, POLLIN, 0}, {signals_.fd(), POLLIN, 0}};
      if (poll(fds, 2, kRetryMilliseconds) > 0) {
        if (signals_.quit()) return absl::CancelledError("ended by a signal");
        signals_.Drain();
        if ((fds[0].revents & (POLLIN | POLLHUP)) != 0 && (ReadInput().empty() || detached_)) return absl::OkStatus();
      }
      absl::Status status = client.Reconnect();
      if (status.ok() || !Client::IsDisconnected(status) || absl::Now() >= give_up) return status;
    }
  }

  bool detached() const { return detached_; }

 private:
  // One look at everything. True: the stream is over.
  bool Step(Attachment& attachment) {
    const bool listen = !input_over_ && (is_terminal_ || attachment.HasRoom());
    pollfd fds[] = {{listen ? in_ : -1, POLLIN, 0}, {signals_.fd(), POLLIN, 0}, {attachment.ended_fd(), POLLIN, 0}};
    // Without input to wait for, or with no room for it, look again soon.
    const int timeout = listen ? -1 : 50;
    if (poll(fds, 3, timeout) < 0 && errno != EINTR) return true;
    if (fds[2].revents != 0) return true;
    if (fds[1].revents != 0) {
      signals_.Drain();
      if (signals_.quit()) detached_ = true;
      if (is_terminal_) attachment.SendSize(GetTerminalSize(in_));
    }
    if (fds[0].revents != 0) {
      std::string data = ReadInput();
      if (!data.empty() && !options_.read_only) {
        // A terminal's keys are read even when they cannot be sent, or ^] would not be heard.
        if (attachment.HasRoom()) attachment.SendInput(std::move(data));
      }
    }
    if (input_over_) Linger(attachment);
    return false;
  }

  // Takes what there is; notes ^] and the end of the input.
  std::string ReadInput() {
    std::array<char, kInputChunk> buffer;
    const ssize_t got = read(in_, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return "";
    if (got <= 0) {
      input_over_ = true;
      input_over_since_ = absl::Now();
      // A terminal that hangs up has nobody left in front of it.
      if (is_terminal_) detached_ = true;
      return "";
    }
    std::string data(buffer.data(), static_cast<size_t>(got));
    if (is_terminal_) {
      if (const size_t key = data.find(kDetachKey); key != std::string::npos) {
        data.resize(key);
        detached_ = true;
      }
    }
    return data;
  }

  void Linger(Attachment& attachment) {
    const absl::Time now = absl::Now();
    if (!attachment.IsDrained() || !attachment.IsAttached()) {
      input_over_since_ = now;
      return;
    }
    if (now - std::max(input_over_since_, attachment.last_output()) < options_.linger) return;
    if (!half_closed_since_.has_value()) {
      attachment.HalfClose();
      half_closed_since_ = now;
    } else if (now - *half_closed_since_ > kHalfCloseGrace) {
      detached_ = true;
    }
  }

  const ConsoleOptions& options_;
  const int in_;
  const int out_;
  const bool is_terminal_;
  TerminalSignals& signals_;
  const std::function<void(const std::string&)>& note_;
  bool detached_ = false;
  bool input_over_ = false;
  absl::Time input_over_since_;
  std::optional<absl::Time> half_closed_since_;
};

}  // namespace

absl::Status RunConsole(Client& client, const ConsoleOptions& options, int in, int out,
                        const std::function<void(const std::string&)>& note) {
  const bool is_terminal = isatty(in) == 1;
  ASSIGN_OR_RETURN(TerminalSignals signals, TerminalSignals::Catch());
  if (is_terminal) note("note: ^] detaches");
  std::optional<RawMode> raw;
  if (is_terminal) {
    ASSIGN_OR_RETURN(RawMode entered, RawMode::Enter(in));
    raw.emplace(std::move(entered));
  }
  Console console(options, in, out, is_terminal, signals, note);
  uint32_t history_bytes = options.history_bytes;
  absl::Status status;
  while (true) {
    status = console.Attach(client, history_bytes);
    // Piped input that was on its way is lost with the connection; only a person can see and repeat it.
    if (!is_terminal || console.detached() || !Client::IsDisconnected(status)) break;
    note("note: umld went away; waiting for it");
    status = console.Reattach(client);
    if (!status.ok() || console.detached()) break;
    note("note: umld is back");
    history_bytes = 0;
  }
  raw.reset();
  if (signals.quit()) return absl::CancelledError("ended by a signal");
  if (is_terminal && status.ok()) note(console.detached() ? "note: detached" : "note: the console has ended");
  return status;
}

}  // namespace umld::umlctl
