#include "umld/identity_report.h"

#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld {
namespace {

constexpr char kBegin[] = "umld-identity 1", kEnd[] = "end";

// For people; what is not here has no word of its own.
absl::string_view Noun(absl::string_view what) {
  static const auto* const kNouns = new std::map<absl::string_view, absl::string_view>{
      {"machine-id", "machine-id"},
      {"hostname", "host name"},
      {"random-seed", "random seed"},
  };
  const auto found = kNouns->find(what);
  return found == kNouns->end() ? "" : found->second;
}

// "rsa" of "ssh_host_rsa_key".
std::string KeyKind(absl::string_view what) {
  if (!absl::ConsumePrefix(&what, "ssh_host_") || !absl::ConsumeSuffix(&what, "_key")) return "";
  for (const char* kind : {"rsa", "ecdsa", "ed25519", "dsa"}) {
    if (what == kind) return kind;
  }
  return "other";
}

struct Changes {
  std::set<std::string> things, keys, kept, lost;
  bool no_etc = false;
};

absl::Status Take(absl::string_view line, Changes* changes) {
  const std::pair<absl::string_view, absl::string_view> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
  const std::string kind = KeyKind(words.second), noun(Noun(words.second));
  if (line == "no-etc") {
    changes->no_etc = true;
  } else if (line == "unmountable") {
    return IdentityUnchanged("no filesystem on its root disk can be mounted");
  } else if (line == "no-keys") {
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        "it has ssh host keys, and ssh-keygen, which would make new ones, is missing or fails (umld's log says which)",
        {"TOOL_MISSING", "ssh-keygen", "install the package openssh-client, or give --same-identity"});
  } else if (words.first == "changed" && !kind.empty()) {
    changes->keys.insert(kind);
  } else if (words.first == "changed" && !noun.empty()) {
    changes->things.insert(noun);
  } else if (words.first == "kept" && (!kind.empty() || !noun.empty())) {
    changes->kept.insert(noun.empty() ? absl::StrCat("ssh host key (", kind, ")") : noun);
  } else if (words.first == "lost" && !kind.empty()) {
    changes->lost.insert(kind);
  } else {
    return IdentityUnchanged("a change did not reach the disk: see umld's log");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status IdentityUnchanged(absl::string_view why) {
  return MakeError(absl::StatusCode::kAborted, absl::StrCat(kIdentityUnchanged, why),
                   {"IDENTITY_UNCHANGED", "", "with --same-identity the clone keeps that of its source"});
}

absl::StatusOr<std::vector<std::string>> ReadIdentityReport(absl::string_view report, const std::string& new_name) {
  std::vector<absl::string_view> lines = absl::StrSplit(report.substr(0, report.find('\0')), '\n', absl::SkipEmpty());
  if (lines.size() < 2 || lines.front() != kBegin || lines.back() != kEnd) {
    return IdentityUnchanged("the guest that was to do it has not said what it did: see umld's log");
  }
  Changes changes;
  for (size_t i = 1; i + 1 < lines.size(); ++i) RETURN_IF_ERROR(Take(lines[i], &changes));
  std::vector<std::string> notes;
  if (changes.things.count("machine-id") > 0) notes.emplace_back("it makes a new machine-id at its first start");
  if (!changes.keys.empty()) notes.push_back(absl::StrCat("new ssh host keys: ", absl::StrJoin(changes.keys, ", ")));
  if (!changes.lost.empty()) {
    notes.push_back(
        absl::StrCat("removed, as none can be made anew: ssh host keys: ", absl::StrJoin(changes.lost, ", ")));
  }
  if (changes.things.count("host name") > 0) notes.push_back(absl::StrCat("its host name is ", new_name));
  if (!changes.kept.empty()) {
    notes.push_back(absl::StrCat("left as it was, for it is no plain file: ", absl::StrJoin(changes.kept, ", ")));
  }
  if (notes.empty() && changes.no_etc) {
    notes.emplace_back("its root disk has no /etc: nothing inside to change");
  } else if (notes.empty()) {
    notes.emplace_back("nothing inside to change: no machine-id, ssh host key or host name of its own");
  }
  return notes;
}

}  // namespace umld
