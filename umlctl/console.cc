#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/console_session.h"
#include "umlctl/duration.h"
#include "umlctl/each_guest.h"
#include "umlctl/errors.h"
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
  bool xterm = false;
};

// Goes on as a terminal emulator whose window shows the console. Returns only on failure.
absl::Status OpenWindow(const Session& session, const Words& words) {
  if (std::getenv("DISPLAY") == nullptr && std::getenv("WAYLAND_DISPLAY") == nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "there is no display to open a window on",
                     {"NO_DISPLAY", "", "run it in a graphical session, or leave out --xterm"});
  }
  std::string self(4096, '\0');
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size());
  self.resize(length > 0 ? static_cast<size_t>(length) : 0);
  const std::string title = absl::StrCat(words.guest, " ", words.console);
  std::vector<std::string> command = {"", "-T", title, "-e", self, "console", words.guest, words.console};
  if (!session.address.empty()) command.insert(command.end(), {"--address", session.address});
  if (words.read_only) command.push_back("--read-only");
  if (words.take_over) command.push_back("--take-over");
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  const char* chosen = std::getenv("TERMINAL");
  for (const char* emulator : {chosen == nullptr ? "x-terminal-emulator" : chosen, "x-terminal-emulator", "xterm"}) {
    execvp(emulator, argv.data());
  }
  return MakeError(absl::StatusCode::kNotFound, "there is no terminal emulator",
                   {"NO_EMULATOR", "", "install xterm, or name one that takes -T and -e in $TERMINAL"});
}

absl::Status Console(Session& session, const Words& words) {
  if (words.guest.empty()) return UsageError("umlctl console: NAME is required", "umlctl console --help");
  ASSIGN_OR_RETURN(const std::string guest, GuestName(words.guest));
  ConsoleOptions options;
  ASSIGN_OR_RETURN(options.console, ConsoleName(guest, words.console));
  ASSIGN_OR_RETURN(const uint64_t history, ParseByteSize(words.history));
  options.history_bytes = static_cast<uint32_t>(std::min<uint64_t>(history, UINT32_MAX));
  ASSIGN_OR_RETURN(options.linger, ParseDuration(words.linger));
  if (words.xterm) return OpenWindow(session, words);
  options.read_only = words.read_only;
  options.take_over = words.take_over;
  ASSIGN_OR_RETURN(Client* const client, session.client());
  bool first = true;
  const absl::Status status =
      RunConsole(*client, options, STDIN_FILENO, STDOUT_FILENO, [&session, &first](const std::string& line) {
        const bool on_terminal = session.out_is_terminal() && session.shows_progress();
        session.Note(line, /*raw_terminal=*/on_terminal && !first);
        first = false;
      });
  return status.ok() ? status : NamingGuest(status, guest);
}

}  // namespace

void AddConsole(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("console", "Attach to a guest's console; ^] detaches")->group(kDevicesGroup);
  auto words = std::make_shared<Words>();
  verb->add_option("NAME", words->guest, "the guest");
  verb->add_option("CONSOLE", words->console, "con1: the login (default); con0: kernel messages; or another, as ssl0");
  verb->add_option("--history", words->history, "how much of the past to show first (8K)");
  CLI::Option* read_only = verb->add_flag("--read-only", words->read_only, "look on, send nothing");
  verb->add_flag("--take-over", words->take_over, "write, whoever else does")->excludes(read_only);
  verb->add_option("--linger", words->linger,
                   "with input from a file or pipe: after its end, wait until the console is silent so long (1s)");
  verb->add_flag("--xterm", words->xterm, "in a window of its own, by $TERMINAL, x-terminal-emulator or xterm");
  AddRecord(*verb, session);
  // Runs after the verb below it, which comes first.
  verb->callback([&session, verb, words] {
    if (verb->get_subcommands().empty()) session.action = [&session, words] { return Console(session, *words); };
  });
}

}  // namespace umld::umlctl
