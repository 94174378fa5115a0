#include "umlctl/completion.h"

namespace umld::umlctl {
namespace {

// Each script hands all words to "umlctl __complete line" and filters what comes back; so the three shells know the
// same, and a new verb needs no change here.

constexpr char kBash[] = R"sh(# umlctl completion for bash: source <(umlctl completion bash)
_umlctl() {
    local line=${COMP_LINE:0:COMP_POINT} words=() cur out value path
    # bash has split at '=' and ':'; this puts "ubdb=/srv/x" together again.
    read -r -a words <<<"$line"
    [[ $line == *' ' ]] && words+=("")
    cur=${words[-1]}
    out=$(umlctl __complete line -- "${words[@]:1}" 2>/dev/null) || return 0
    if [[ $out == :files ]]; then
        # What bash replaces begins after the last '=' or ':', the path also after a ','.
        value=${cur##*[=:]}
        path=${value##*,}
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -P "${value%"$path"}" -f -- "$path")
        return 0
    fi
    mapfile -t COMPREPLY < <(compgen -W "$out" -- "$cur")
}
complete -F _umlctl umlctl
)sh";

constexpr char kZsh[] = R"sh(#compdef umlctl
# umlctl completion for zsh: source <(umlctl completion zsh), or save it as _umlctl in a folder of $fpath
_umlctl() {
    local -a candidates
    candidates=("${(@f)$(umlctl __complete line -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ ${candidates[1]} == :files ]]; then
        compset -P '*[=,:]'
        _files
        return
    fi
    compadd -a candidates
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _umlctl "$@"
else
    compdef _umlctl umlctl
fi
)sh";

constexpr char kFish[] = R"sh(# umlctl completion for fish: umlctl completion fish | source
function __umlctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l out (umlctl __complete line -- $words[2..-1] 2>/dev/null)
    if test "$out" = ":files"
        set -l token (commandline -ct)
        set -l path (string replace -r '.*[=,:]' '' -- $token)
        set -l prefix (string sub -l (math (string length -- $token) - (string length -- $path)) -- $token)
        for file in (__fish_complete_path $path)
            echo $prefix$file
        end
        return
    end
    printf '%s\n' $out
end
complete -c umlctl -f -a '(__umlctl_complete)'
)sh";

}  // namespace

const char* CompletionScript(absl::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return nullptr;
}

}  // namespace umld::umlctl
