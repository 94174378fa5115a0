#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/console_session.h"
#include "umlctl/duration.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Words {
  std::string guest;
  std::string console = "con1";
  std::string history = "8K";
  std::string linger = "1s";
  bool read_only = false;
  bool take_over = false;
};

absl::Status Console(Session& session, const Words& words) {
  ASSIGN_OR_RETURN(const std::string guest, GuestName(words.guest));
  ConsoleOptions options;
  ASSIGN_OR_RETURN(options.console, ConsoleName(guest, words.console));
  ASSIGN_OR_RETURN(const uint64_t history, ParseByteSize(words.history));
  options.history_bytes = static_cast<uint32_t>(std::min<uint64_t>(history, UINT32_MAX));
  ASSIGN_OR_RETURN(options.linger, ParseDuration(words.linger));
  options.read_only = words.read_only;
  options.take_over = words.take_over;
  ASSIGN_OR_RETURN(Client* const client, session.client());
  bool first = true;
  const absl::Status status =
      RunConsole(*client, options, STDIN_FILENO, STDOUT_FILENO, [&session, &first](const std::string& line) {
        // The guest may have left the cursor anywhere, and in raw mode a newline alone does not go back to the margin.
        const bool on_terminal = session.out_is_terminal() && session.shows_progress();
        session.Note(on_terminal && !first ? "\r\n" + line + "\r" : line);
        first = false;
      });
  return status.ok() ? status : NamingGuest(status, guest);
}

}  // namespace

void AddConsole(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("console", "Attach to a guest's console; ^] detaches")->group(kDevicesGroup);
  auto words = std::make_shared<Words>();
  verb->add_option("NAME", words->guest, "the guest")->required();
  verb->add_option("CONSOLE", words->console, "con1: the login (default); con0: kernel messages");
  verb->add_option("--history", words->history, "how much of the past to show first (8K)");
  CLI::Option* read_only = verb->add_flag("--read-only", words->read_only, "look on, send nothing");
  verb->add_flag("--take-over", words->take_over, "write, whoever else does")->excludes(read_only);
  verb->add_option("--linger", words->linger,
                   "with input from a file or pipe: after its end, wait until the console is silent so long (1s)");
  OnVerb(verb, session, [&session, words] { return Console(session, *words); });
}

}  // namespace umld::umlctl
