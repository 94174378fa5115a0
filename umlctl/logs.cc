#include <CLI/App.hpp>
#include <algorithm>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/printable.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  std::string console = "con0";
  bool follow = false;
  uint32_t tail = 0;
};

// What is remembered of the output to find its place in the log again.
constexpr size_t kRemembered = 4096;
constexpr absl::Duration kRestartPatience = absl::Seconds(30);
constexpr absl::Duration kRetryPause = absl::Milliseconds(200);

// Prints a log as it comes, and finds its place again after a restart of umld.
class LogPrinter {
 public:
  LogPrinter(Session& session, Client& client, const Options& options, std::string console)
      : session_(session), client_(client), options_(options), console_(std::move(console)) {}

  absl::Status Run() {
    absl::Status status = Read(options_.tail, options_.follow, /*skip=*/0);
    while (options_.follow && Client::IsDisconnected(status) && session_.out().good()) {
      session_.Note("note: umld went away; waiting for it");
      status = Resume();
    }
    if (session_.out_is_terminal()) session_.out() << printable_.Finish();
    session_.out().flush();
    return status;
  }

 private:
  v1::ReadConsoleLogRequest Request(uint32_t tail, bool follow) const {
    v1::ReadConsoleLogRequest request;
    request.set_console(console_);
    request.set_follow(follow);
    request.set_tail_lines(tail);
    return request;
  }

  // Prints all but the first `skip` bytes.
  absl::Status Read(uint32_t tail, bool follow, size_t skip) {
    return client_.ReadConsoleLog(Request(tail, follow), [&](const v1::ReadConsoleLogResponse& response) {
      const absl::string_view data(response.data());
      const size_t skipped = std::min(skip, data.size());
      skip -= skipped;
      Print(data.substr(skipped));
      return session_.out().good();
    });
  }

  // The API has no offsets: what we printed last is looked for in what the log has now.
  absl::Status Resume() {
    const absl::Time give_up = absl::Now() + kRestartPatience;
    while (true) {
      absl::SleepFor(kRetryPause);
      absl::Status status = client_.Reconnect();
      if (status.ok()) break;
      if (!Client::IsDisconnected(status) || absl::Now() >= give_up) return status;
    }
    if (last_.empty()) {
      session_.Note("note: umld is back");
      return Read(options_.tail, true, /*skip=*/0);
    }
    std::string log;
    RETURN_IF_ERROR(client_.ReadConsoleLog(Request(0, false), [&log](const v1::ReadConsoleLogResponse& response) {
      log += response.data();
      return true;
    }));
    const size_t found = log.rfind(last_);
    session_.Note(found == std::string::npos ? "note: umld is back; some lines may be missing here"
                                             : "note: umld is back");
    return Read(0, true, found == std::string::npos ? 0 : found + last_.size());
  }

  void Print(absl::string_view data) {
    if (session_.out_is_terminal()) {
      session_.out() << printable_.Feed(data);
    } else {
      session_.out() << data;
    }
    if (!options_.follow) return;
    // Whoever follows wants each line when it comes.
    session_.out().flush();
    last_.append(data.data(), data.size());
    if (last_.size() > kRemembered) last_.erase(0, last_.size() - kRemembered);
  }

  Session& session_;
  Client& client_;
  const Options& options_;
  const std::string console_;
  PrintableStream printable_;
  std::string last_;
};

absl::Status Logs(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const std::string guest, GuestName(options.guest));
  ASSIGN_OR_RETURN(const std::string console, ConsoleName(guest, options.console));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::Status status = LogPrinter(session, *client, options, console).Run();
  return status.ok() ? status : NamingGuest(status, guest);
}

}  // namespace

void AddLogs(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("logs", "Print what a guest's console has said")->group(kDevicesGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option("CONSOLE", options->console, "con0: kernel messages (default); con1: the login");
  verb->add_flag("-f,--follow", options->follow, "go on with what comes, through the guest's reboots");
  verb->add_option("--tail", options->tail, "only the last so many lines");
  OnVerb(verb, session, [&session, options] { return Logs(session, *options); });
}

}  // namespace umld::umlctl
