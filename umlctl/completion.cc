#include "umlctl/completion.h"

#include <CLI/App.hpp>
#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// What an option's value, or a verb's word at a place, is a name of. A kind that ends in "..." goes for all words
// from there on.
struct Place {
  const char* verb;   // "" for an option of any verb
  const char* where;  // the option, or the place: "1", "2"
  const char* kind;   // of LiveNames, ":files", or the words themselves, divided by spaces
};

constexpr Place kPlaces[] = {
    {"start", "1...", "guests"},
    {"stop", "1...", "guests"},
    {"reboot", "1...", "guests"},
    {"pause", "1...", "guests"},
    {"resume", "1...", "guests"},
    {"kill", "1...", "guests"},
    {"delete", "1...", "guests"},
    {"describe", "1...", "guests"},
    {"stats", "1...", "guests"},
    {"gdb", "1", "guests"},
    {"wait", "1...", "guests"},
    {"rename", "1", "guests"},
    {"set", "1", "guests"},
    {"events", "1", "guests"},
    {"logs", "1", "guests"},
    {"logs", "2", "consoles"},
    {"console", "1", "guests"},
    {"console", "2", "consoles"},
    {"console record", "1", "guests"},
    {"console record", "2", "consoles"},
    {"console record", "3", ":files"},
    {"plug", "1", "guests"},
    {"plug", "2", ":files"},
    {"unplug", "1", "guests"},
    {"unplug", "2", "devices"},
    {"config", "1", "guests"},
    {"config", "2", "devices"},
    {"mconsole", "1", "guests"},
    {"mconsole", "2", "version help config remove sysrq cad stop go log proc stack halt reboot"},
    {"sysrq", "1", "guests"},
    {"stack", "1", "guests"},
    {"proc", "1", "guests"},
    {"proc", "2", "cpuinfo interrupts loadavg meminfo mounts stat uptime version"},
    {"image build", "1", "tiny debian"},
    {"image describe", "1...", "images"},
    {"image delete", "1...", "images"},
    {"image tag", "1", "images"},
    {"image import", "2", ":files"},
    {"image export", "1", "images"},
    {"image export", "2", ":files"},
    {"image verify", "1...", "images"},
    {"kernel import", "2", ":files"},
    {"kernel describe", "1...", "kernels"},
    {"kernel config", "1", "kernels"},
    {"kernel default", "1", "kernels"},
    {"kernel delete", "1...", "kernels"},
    {"clone", "1", "guests"},
    {"snapshot create", "1", "guests"},
    {"snapshot list", "1", "guests"},
    {"snapshot describe", "1", "guests"},
    {"snapshot describe", "2...", "snapshots"},
    {"snapshot restore", "1", "guests"},
    {"snapshot restore", "2", "snapshots"},
    {"snapshot delete", "1", "guests"},
    {"snapshot delete", "2...", "snapshots"},
    {"export", "1", "guests"},
    {"export", "2", ":files"},
    {"import", "1", ":files"},
    {"disk create", "1", ":files"},
    {"disk info", "1", ":files"},
    {"disk commit", "1", ":files"},
    {"disk rebase", "1", ":files"},
    {"disk rebase", "2", ":files"},
    {"disk resize", "1", "guests"},
    {"disk resize", "2", "devices"},
    {"volume describe", "1...", "volumes"},
    {"volume delete", "1...", "volumes"},
    {"volume resize", "1", "volumes"},
    {"volume import", "2", ":files"},
    {"volume export", "1", "volumes"},
    {"volume export", "2", ":files"},
    {"operations describe", "1...", "operations"},
    {"operations cancel", "1...", "operations"},
    {"completion", "1", "bash zsh fish"},
    {"", "-g", "guests"},
    {"", "--guest", "guests"},
    {"", "--image", "images"},
    {"", "--kernel", "kernels"},
    {"", "--symbols", ":files"},
    {"", "--modules", ":files"},
    {"", "--confinement", "strict relaxed"},
    {"", "--trust", "untrusted trusted"},
    {"", "--reclaim", "idle never"},
    {"", "--disk", ":files"},
    {"", "--address", ":files"},
    {"", "--for", "running stopped paused crashed"},
    {"", "-o", "table wide json yaml name"},
    {"", "--output", "table wide json yaml name"},
};

const char* KindOfPlace(const std::string& verb, size_t place) {
  const std::string exact = absl::StrCat(place);
  for (const Place& entry : kPlaces) {
    if (entry.verb == verb && !verb.empty() && (exact == entry.where || absl::EndsWith(entry.where, "..."))) {
      return entry.kind;
    }
  }
  return "";
}

const char* KindOfOption(const std::string& option) {
  for (const Place& entry : kPlaces) {
    if (entry.verb[0] == '\0' && option == entry.where) return entry.kind;
  }
  return "";
}

// The option of `app`, or of those above it, that `word` names; null for none.
const CLI::Option* FindOption(const CLI::App* app, const std::string& word) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(word); option != nullptr) return option;
  }
  return nullptr;
}

const CLI::App* FindVerb(const CLI::App& app, const std::string& word) {
  const auto found = app.get_subcommands([&word](const CLI::App* verb) { return verb->get_name() == word; });
  return found.empty() ? nullptr : found.front();
}

// The command line as far as it is finished.
struct Typed {
  const CLI::App* app;
  std::string verb;                // "image build"
  std::vector<std::string> plain;  // words that are neither verbs nor options
  std::string open_option;         // waits for its value
};

Typed Read(const CLI::App& root, const std::vector<std::string>& words) {
  Typed typed{&root, "", {}, ""};
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (!typed.open_option.empty()) {
      typed.open_option.clear();
    } else if (absl::StartsWith(word, "-")) {
      const CLI::Option* option = FindOption(typed.app, word);
      if (option != nullptr && option->get_expected_min() > 0) typed.open_option = word;
    } else if (const CLI::App* next = typed.plain.empty() ? FindVerb(*typed.app, word) : nullptr; next != nullptr) {
      typed.app = next;
      absl::StrAppend(&typed.verb, typed.verb.empty() ? "" : " ", word);
    } else {
      typed.plain.push_back(word);
    }
  }
  return typed;
}

std::vector<std::string> Options(const CLI::App* app) {
  std::set<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.insert("--" + name);
      for (const std::string& name : option->get_snames()) names.insert("-" + name);
    }
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> OfKind(const std::string& kind, const std::vector<std::string>& plain, const LiveNames& live) {
  if (kind.empty() || kind == kCompleteFiles) return {kind.empty() ? kCompleteFiles : kind};
  for (const char* name :
       {"guests", "images", "kernels", "volumes", "snapshots", "operations", "devices", "consoles"}) {
    if (kind == name) return live(kind, plain.empty() ? "" : plain[0]);
  }
  return CLI::detail::split(kind, ' ');
}

}  // namespace

std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words, const LiveNames& live) {
  const Typed typed = Read(root, words);
  const std::string current = words.empty() ? "" : words.back();
  if (!typed.open_option.empty()) return OfKind(KindOfOption(typed.open_option), {}, live);
  if (absl::StartsWith(current, "-")) return Options(typed.app);
  const std::vector<const CLI::App*> subcommands =
      typed.app->get_subcommands([](const CLI::App* app) { return !absl::StartsWith(app->get_name(), "__"); });
  const std::string kind = KindOfPlace(typed.verb, typed.plain.size() + 1);
  std::vector<std::string> candidates;
  if (!kind.empty()) candidates = OfKind(kind, typed.plain, live);
  // A verb with verbs below it may have words of its own: `console web1`, `console record web1 ...`.
  if (typed.plain.empty()) {
    std::transform(subcommands.begin(), subcommands.end(), std::back_inserter(candidates),
                   [](const CLI::App* app) { return app->get_name(); });
  }
  return candidates;
}

}  // namespace umld::umlctl
