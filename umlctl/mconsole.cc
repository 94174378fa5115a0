#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "umlctl/duration.h"
#include "umlctl/each_guest.h"
#include "umlctl/printable.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

constexpr char kForceDescription[] = "send it even when it is known to kill the guest's kernel";

struct Options {
  std::string guest;
  std::vector<std::string> words;
  bool force = false;
};

absl::Status Mconsole(Session& session, const Options& options) {
  v1::SendMconsoleRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(options.guest));
  request.set_command(absl::StrJoin(options.words, " "));
  request.set_force(options.force);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::StatusOr<v1::SendMconsoleResponse> answer = client->SendMconsole(request);
  if (!answer.ok()) return NamingGuest(answer.status(), request.guest());
  if (session.output.ForPrograms()) {
    PrintMessage(*answer, session.output.format, session.out());
  } else if (answer->err() == 0 && !answer->text().empty()) {
    session.out() << (session.out_is_terminal() ? Printable(answer->text()) : answer->text())
                  << (absl::EndsWith(answer->text(), "\n") ? "" : "\n");
  }
  if (answer->err() == 0) return absl::OkStatus();
  const std::string said = answer->text().empty() ? absl::StrCat("error ", answer->err()) : answer->text();
  return SaidNo(absl::StrCat("guest ", ShortName(request.guest()), ": ", said), request.guest(),
                absl::StrCat("umlctl mconsole ", ShortName(request.guest()), " help   lists the commands"));
}

// `umlctl WORD NAME ARGUMENT` for `umlctl mconsole NAME WORD ARGUMENT`.
struct Shortcut {
  const char* word;
  const char* description;
  const char* argument;
  const char* argument_description;
  bool may_kill;  // some are refused unless forced
};
constexpr Shortcut kShortcuts[] = {
    {"sysrq", "Have the guest's kernel do a SysRq action", "LETTER", "as s (sync), m (memory), w (blocked tasks)",
     true},
    {"stack", "Print the kernel stack of a process of the guest", "PID", "as the guest counts", false},
    {"proc", "Print a file of the guest's /proc", "FILE", "below /proc, as meminfo", false},
};

void AddShortcut(CLI::App& app, Session& session, const Shortcut& shortcut) {
  CLI::App* verb = app.add_subcommand(shortcut.word, shortcut.description)->group(kDevicesGroup);
  auto options = std::make_shared<Options>();
  options->words = {shortcut.word, ""};
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option(shortcut.argument, options->words[1], shortcut.argument_description)->required();
  if (shortcut.may_kill) verb->add_flag("--force", options->force, kForceDescription);
  OnVerb(verb, session, [&session, options] { return Mconsole(session, *options); });
}

}  // namespace

void AddMconsole(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("mconsole", "Send any mconsole command to a guest")->group(kDevicesGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "the guest")->required();
  verb->add_option("WORD", options->words, "the command, as version, or sysrq s")->required();
  verb->add_flag("--force", options->force, kForceDescription);
  OnVerb(verb, session, [&session, options] { return Mconsole(session, *options); });
  for (const Shortcut& shortcut : kShortcuts) AddShortcut(app, session, shortcut);
}

}  // namespace umld::umlctl
