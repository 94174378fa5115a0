#include "umlctl/run.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

constexpr char kFooter[] =
    "\nExit codes: 0 ok, 1 the guest said no, 2 usage, 3 not found, 4 wrong state, 5 busy or exists, 6 denied,\n"
    "7 daemon unreachable, 8 timed out, 70 our bug. More in umlctl(1).";

void AddGlobalOptions(CLI::App& app, Session& session, std::string& format, bool& no_headers) {
  app.add_option("--address", session.address, "the daemon's socket: unix:/path or /path (also UMLD_ADDRESS)");
  app.add_option("-o,--output", format, "table, wide, json, yaml or name")
      ->check(CLI::IsMember({"table", "wide", "json", "yaml", "name"}));
  app.add_flag("--no-headers", no_headers, "no line of headings above tables");
}

void AddVerbs(CLI::App& app, Session& session) {
  AddCreate(app, session);
  AddStart(app, session);
  AddStop(app, session);
  AddLifecycle(app, session);
  AddList(app, session);
  AddDescribe(app, session);
  AddStats(app, session);
  AddTop(app, session);
  AddWait(app, session);
  AddRename(app, session);
  AddSet(app, session);
  AddConsole(app, session);
  AddLogs(app, session);
  AddPlug(app, session);
  AddUnplug(app, session);
  AddConfig(app, session);
  AddMconsole(app, session);
  AddGdb(app, session);
  AddImage(app, session);
  AddKernel(app, session);
  AddClone(app, session);
  AddSnapshot(app, session);
  AddExport(app, session);
  AddImport(app, session);
  AddDisk(app, session);
  AddVolume(app, session);
  AddPool(app, session);
  AddHost(app, session);
  AddEvents(app, session);
  AddOperations(app, session);
  AddVersion(app, session);
  AddCompletion(app, session);
}

Format FormatOf(const std::string& text) {
  if (text == "wide") return Format::kWide;
  if (text == "json") return Format::kJson;
  if (text == "yaml") return Format::kYaml;
  if (text == "name") return Format::kName;
  return Format::kTable;
}

// The innermost verb that was recognised, and the words as far as it.
const CLI::App& LastVerb(const CLI::App& app, std::string& words) {
  const CLI::App* at = &app;
  for (words = "umlctl"; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    absl::StrAppend(&words, " ", at->get_name());
  }
  return *at;
}

absl::Status ExplainParseError(const CLI::App& app, const CLI::ParseError& error) {
  std::string words;
  const CLI::App& at = LastVerb(app, words);
  const std::string hint = absl::StrCat(words, " --help");
  const bool takes_verb = at.get_require_subcommand_min() > 0;
  const std::vector<std::string> rest = at.remaining();
  if (takes_verb && !rest.empty())
    return UsageError(absl::StrCat("\"", rest.front(), "\" is not a verb of ", words), hint);
  if (takes_verb && error.get_name() == "RequiredError") return UsageError(absl::StrCat(words, " needs a verb"), hint);
  return UsageError(error.what(), hint);
}

absl::Status ParseAndAct(std::vector<std::string> words, Session& session, const Streams& streams) {
  CLI::App app("Manages User Mode Linux guests: words in, words out.", "umlctl");
  // Global options are taken after the verb as well.
  app.fallthrough();
  // At most one, or a guest called "list" could not be named.
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  std::string format = "table";
  bool no_headers = false;
  AddGlobalOptions(app, session, format, no_headers);
  AddVerbs(app, session);
  // After the verbs, which would take it over.
  app.footer(kFooter);
  try {
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp& help) {
    app.exit(help, streams.out, streams.err);
    return absl::OkStatus();
  } catch (const CLI::ParseError& error) {
    return ExplainParseError(app, error);
  }
  session.output = {FormatOf(format), !no_headers};
  return session.action();
}

}  // namespace

ExitCode Run(std::vector<std::string> words, const Streams& streams) {
  Session session(streams);
  try {
    session.Report(ParseAndAct(std::move(words), session, streams));
  } catch (const std::exception& error) {
    session.Report(absl::InternalError(error.what()));
  }
  streams.out.flush();
  return session.exit_code();
}

}  // namespace umld::umlctl
