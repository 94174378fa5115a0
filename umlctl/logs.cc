#include <CLI/App.hpp>
#include <memory>

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

absl::Status Logs(Session& session, const Options& options) {
  v1::ReadConsoleLogRequest request;
  ASSIGN_OR_RETURN(const std::string guest, GuestName(options.guest));
  ASSIGN_OR_RETURN(*request.mutable_console(), ConsoleName(guest, options.console));
  request.set_follow(options.follow);
  request.set_tail_lines(options.tail);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  PrintableStream printable;
  const absl::Status status = client->ReadConsoleLog(request, [&](const v1::ReadConsoleLogResponse& response) {
    session.out() << (session.out_is_terminal() ? printable.Feed(response.data()) : response.data());
    // Whoever follows wants each line when it comes.
    if (options.follow) session.out().flush();
    return session.out().good();
  });
  if (session.out_is_terminal()) session.out() << printable.Finish();
  session.out().flush();
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
