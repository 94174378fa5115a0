#ifndef UMLD_UMLCTL_COMPLETION_H_
#define UMLD_UMLCTL_COMPLETION_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
}

namespace umld::umlctl {

// What may be asked for at a place in the command line. `list` answers with the live names of a kind: "guests",
// "images", "operations", "devices" and "consoles" (of a guest, the second argument).
using LiveNames = std::function<std::vector<std::string>(absl::string_view kind, const std::string& guest)>;

// The answer when the shell should offer files.
inline constexpr char kCompleteFiles[] = ":files";

// Candidates for the last of `words`, which may be unfinished or ""; the words are those after "umlctl". Verbs, options
// and values of options, from `root`; names from `live`. Not filtered by what has been typed: the shells do that.
std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words, const LiveNames& live);

// The script that a shell loads; nullptr: not one of bash, zsh, fish.
const char* CompletionScript(absl::string_view shell);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_COMPLETION_H_
