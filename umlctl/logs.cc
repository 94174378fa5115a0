#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/printable.h"
#include "umlctl/verbs.h"
#include "umlctl/watch.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  std::string console = "con0";
  bool follow = false;
  uint32_t tail = 0;
};

constexpr absl::Duration kRestartPatience = absl::Seconds(30);

// Prints a log as it comes, and finds its place again after a restart of umld.
class LogPrinter {
 public:
  LogPrinter(Session& session, Client& client, const Options& options, std::string console)
      : session_(session), client_(client), options_(options), console_(std::move(console)) {}

  absl::Status Run() {
    v1::ReadConsoleLogRequest request;
    request.set_console(console_);
    request.set_follow(options_.follow);
    request.set_tail_lines(options_.tail);
    absl::Status status = Read(request);
    while (options_.follow && Client::IsDisconnected(status) && session_.out().good()) {
      session_.Note("note: umld went away; waiting for it");
      status = ReconnectWithin(client_, kRestartPatience);
      if (!status.ok()) break;
      session_.Note("note: umld is back");
      // Had it nothing to print at first, all that there is now has come since.
      request.set_tail_lines(0);
      request.set_after(position_);
      status = Read(request);
    }
    if (session_.out_is_terminal()) session_.out() << printable_.Finish();
    session_.out().flush();
    return status;
  }

 private:
  absl::Status Read(const v1::ReadConsoleLogRequest& request) {
    return client_.ReadConsoleLog(request, [&](const v1::ReadConsoleLogResponse& response) {
      if (response.gap()) session_.Note("note: some lines may be missing here");
      Print(response.data());
      position_ = response.position();
      return session_.out().good();
    });
  }

  void Print(absl::string_view data) {
    if (session_.out_is_terminal()) {
      session_.out() << printable_.Feed(data);
    } else {
      session_.out() << data;
    }
    // Whoever follows wants each line when it comes.
    if (options_.follow) session_.out().flush();
  }

  Session& session_;
  Client& client_;
  const Options& options_;
  const std::string console_;
  PrintableStream printable_;
  std::string position_;  // in the log, after what was printed
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
