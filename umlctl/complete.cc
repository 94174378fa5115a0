#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/completion.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// Units and consoles that a guest may have and may not: what can be plugged or asked for.
constexpr const char* kDevices[] = {"ubda", "ubdb", "ubdc", "ubdd"};

// Silent without a daemon: a shell in the middle of a line is no place for an error.
std::vector<std::string> Names(Session& session, absl::string_view kind, const std::string& guest) {
  std::vector<std::string> names;
  const absl::StatusOr<Client*> client = session.client();
  if (!client.ok()) return names;
  const auto take = [&names](const auto& items) {
    for (const auto& item : items) names.push_back(ShortName(item.name()));
  };
  if (kind == "guests") {
    if (const auto list = (*client)->SummarizeGuests(); list.ok()) take(list->guests());
  } else if (kind == "images") {
    if (const auto list = (*client)->ListImages(); list.ok()) take(list->images());
  } else if (kind == "kernels") {
    if (const auto list = (*client)->ListKernels(); list.ok()) take(list->kernels());
  } else if (kind == "volumes") {
    if (const auto list = (*client)->ListVolumes(); list.ok()) take(list->volumes());
  } else if (kind == "operations") {
    if (const auto list = (*client)->ListOperations(false, 50); list.ok()) take(list->operations());
  } else if (const auto name = GuestName(guest); name.ok()) {
    if (kind == "snapshots") {
      if (const auto list = (*client)->ListSnapshots(*name); list.ok()) take(list->snapshots());
      return names;
    }
    const auto found = (*client)->GetGuest(*name);
    if (!found.ok()) return names;
    if (kind == "devices") {
      take(found->disks());
      take(found->nics());
    }
    if (kind == "devices" && names.empty()) names.assign(std::begin(kDevices), std::end(kDevices));
    take(found->consoles());
  }
  return names;
}

absl::Status PrintCandidates(Session& session, const CLI::App& root, const std::string& kind,
                             const std::vector<std::string>& words) {
  const LiveNames live = [&session](absl::string_view of_kind, const std::string& guest) {
    return Names(session, of_kind, guest);
  };
  const std::vector<std::string> candidates =
      kind == "line" ? Complete(root, words, live) : live(kind, words.empty() ? "" : words[0]);
  for (const std::string& candidate : candidates) session.out() << candidate << "\n";
  return absl::OkStatus();
}

absl::Status PrintScript(Session& session, const std::string& shell) {
  const char* script = CompletionScript(shell);
  if (script == nullptr) return UsageError(absl::StrCat("no completion for ", shell), "bash, zsh or fish");
  session.out() << script;
  return absl::OkStatus();
}

}  // namespace

void AddCompletion(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("completion", "Print the script that makes a shell complete umlctl")->group(kHostGroup);
  auto shell = std::make_shared<std::string>();
  verb->add_option("SHELL", *shell, "bash, zsh or fish")->required();
  OnVerb(verb, session, [&session, shell] { return PrintScript(session, *shell); });

  // "__complete guests", "__complete devices web1", "__complete line -- WORD...": not in the help.
  CLI::App* complete = app.add_subcommand("__complete", "")->group("");
  auto kind = std::make_shared<std::string>();
  auto words = std::make_shared<std::vector<std::string>>();
  complete->add_option("KIND", *kind)->required();
  complete->add_option("WORD", *words);
  OnVerb(complete, session, [&session, &app, kind, words] { return PrintCandidates(session, app, *kind, *words); });
}

}  // namespace umld::umlctl
