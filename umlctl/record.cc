#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umlctl/asciicast.h"
#include "umlctl/each_guest.h"
#include "umlctl/terminal.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Words {
  std::string guest, console, file;
  std::string history = "0";
  std::string max_size = "0";
  std::string title;
  uint32_t keep = 0;
  bool input = false;
};

// SIGINT and SIGTERM end a recording in order: while this lives, they are counted.
class EndSignals {
 public:
  EndSignals() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    fd_ = event_.get();
    struct sigaction action = {};
    action.sa_handler = [](int) {
      const uint64_t one = 1;
      [[maybe_unused]] ssize_t written = write(fd_, &one, sizeof(one));
    };
    for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  }
  ~EndSignals() {
    for (int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_DFL);
  }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  int fd() const { return event_.get(); }
  // Waits so long, or until one has come.
  bool Came(int milliseconds) const {
    pollfd waited = {event_.get(), POLLIN, 0};
    return poll(&waited, 1, milliseconds) > 0;
  }

 private:
  static inline std::atomic<int> fd_{-1};
  UniqueFd event_;
};

class Recorder {
 public:
  Recorder(Session& session, Client& client, const EndSignals& signals, Asciicast::Options options)
      : session_(session), client_(client), signals_(signals), options_(std::move(options)) {}

  // Until the guest ends, the file is full, or a signal comes; survives a restart of umld.
  absl::Status Run(v1::AttachConsoleRequest open) {
    while (true) {
      absl::Status status = Attach(open);
      if (!recorded_.ok()) return recorded_;
      if (ended_by_us_) return absl::OkStatus();
      if (!Client::IsDisconnected(status)) return status;
      session_.Note("note: umld went away; waiting for it");
      if (cast_.has_value()) {
        RETURN_IF_ERROR(cast_->Marker("umld: the recording was interrupted", absl::Now()));
      }
      RETURN_IF_ERROR(Reconnect());
      if (ended_by_us_) return absl::OkStatus();
      session_.Note("note: umld is back");
      open.mutable_open()->set_history_bytes(0);
    }
  }

 private:
  static constexpr absl::Duration kRestartPatience = absl::Seconds(30);

  absl::Status Attach(const v1::AttachConsoleRequest& open) {
    std::unique_ptr<ConsoleStream> stream = client_.AttachConsole();
    UniqueFd over(eventfd(0, EFD_CLOEXEC));
    std::thread reader([&] {
      if (stream->Write(open)) Read(stream.get());
      const uint64_t one = 1;
      [[maybe_unused]] ssize_t written = write(over.get(), &one, sizeof(one));
    });
    pollfd waited[] = {{signals_.fd(), POLLIN, 0}, {over.get(), POLLIN, 0}};
    while (poll(waited, 2, -1) < 0 && errno == EINTR) {
    }
    if (waited[0].revents != 0) ended_by_us_ = true;
    if (waited[1].revents == 0) stream->Cancel();
    reader.join();
    return stream->Finish();
  }

  void Read(ConsoleStream* stream) {
    v1::AttachConsoleResponse response;
    const auto full = [this] { return cast_.has_value() && cast_->full(); };
    while (recorded_.ok() && !full() && stream->Read(&response)) recorded_ = Record(response);
    if (full()) {
      session_.Note("note: the recording has reached its limit");
      ended_by_us_ = true;
    }
    // Otherwise the stream has ended by itself, and knows why.
    if (ended_by_us_ || !recorded_.ok()) stream->Cancel();
  }

  absl::Status Record(const v1::AttachConsoleResponse& response) {
    const absl::Time now = absl::Now();
    if (!cast_.has_value()) {
      // Not before the console has answered: what does not exist leaves no file.
      const std::string path = options_.path;
      ASSIGN_OR_RETURN(cast_, Asciicast::Create(std::move(options_), now));
      session_.Note(absl::StrCat("note: recording to ", path, "; Ctrl-C ends it"));
    }
    if (response.lost_bytes() != 0) {
      RETURN_IF_ERROR(cast_->Marker(absl::StrCat("umld: ", response.lost_bytes(), " bytes are lost here"), now));
    }
    RETURN_IF_ERROR(cast_->Output(response.output(), now));
    return cast_->Input(response.input(), now);
  }

  absl::Status Reconnect() {
    const absl::Time give_up = absl::Now() + kRestartPatience;
    while (true) {
      absl::Status status = client_.Reconnect();
      if (status.ok() || !Client::IsDisconnected(status) || absl::Now() >= give_up) return status;
      if (signals_.Came(200)) {
        ended_by_us_ = true;
        return absl::OkStatus();
      }
    }
  }

  Session& session_;
  Client& client_;
  const EndSignals& signals_;
  Asciicast::Options options_;
  std::optional<Asciicast> cast_;
  absl::Status recorded_;  // written by the reader, read when it has ended
  std::atomic<bool> ended_by_us_{false};
};

absl::Status Record(Session& session, const Words& words) {
  ASSIGN_OR_RETURN(const std::string guest, GuestName(words.guest));
  v1::AttachConsoleRequest request;
  ASSIGN_OR_RETURN(*request.mutable_open()->mutable_console(), ConsoleName(guest, words.console));
  ASSIGN_OR_RETURN(const uint64_t history, ParseByteSize(words.history));
  request.mutable_open()->set_history_bytes(static_cast<uint32_t>(std::min<uint64_t>(history, UINT32_MAX)));
  request.mutable_open()->set_read_only(true);
  request.mutable_open()->set_include_input(words.input);
  Asciicast::Options options;
  options.path = words.file;
  options.title = words.title.empty() ? absl::StrCat(words.guest, " ", words.console) : words.title;
  ASSIGN_OR_RETURN(options.max_bytes, ParseByteSize(words.max_size));
  options.keep = words.keep;
  if (options.keep != 0 && options.max_bytes == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     "--keep without --max-size: there would never be a second file",
                     {"USAGE", "", "give --max-size, as 10M"});
  }
  if (const TerminalSize size = GetTerminalSize(STDOUT_FILENO); size.rows != 0) {
    options.rows = size.rows;
    options.columns = size.columns;
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::Guest found, client->GetGuest(guest));
  if (!found.has_processes()) {
    return NamingGuest(MakeError(absl::StatusCode::kFailedPrecondition, "it is not running",
                                 {"NOT_RUNNING", guest, absl::StrCat("umlctl start ", words.guest)}),
                       guest);
  }
  const EndSignals signals;
  Recorder recorder(session, *client, signals, std::move(options));
  const absl::Status status = recorder.Run(std::move(request));
  return status.ok() ? status : NamingGuest(status, guest);
}

}  // namespace

void AddRecord(CLI::App& noun, Session& session) {
  CLI::App* verb = noun.add_subcommand("record", "Record a console in asciicast v2, for the asciinema player");
  auto words = std::make_shared<Words>();
  verb->add_option("NAME", words->guest, "the guest")->required();
  verb->add_option("CONSOLE", words->console, "as con1")->required();
  verb->add_option("FILE", words->file, "the recording; must not be there yet")->required();
  verb->add_flag("--input", words->input, "what is typed as well, whoever types it");
  verb->add_option("--history", words->history, "how much of the past to begin with (0)");
  verb->add_option("--max-size", words->max_size,
                   "end the file before it exceeds this, as 10M; without it there is no limit");
  verb->add_option("--keep", words->keep,
                   "then go on in a new file, and keep so many old ones: FILE.1 is the youngest");
  verb->add_option("--title", words->title, "what players show as the title (NAME CONSOLE)");
  OnVerb(verb, session, [&session, words] { return Record(session, *words); });
}

}  // namespace umld::umlctl
