#ifndef UMLD_UMLCTL_CONFINEMENT_H_
#define UMLD_UMLCTL_CONFINEMENT_H_

#include <CLI/App.hpp>
#include <string>

#include "umld/v1/resources.pb.h"

namespace umld::umlctl {

// The option --confinement of a verb, whose word goes to `word`: "strict", "relaxed", or empty when it is not given.
inline void AddConfinement(CLI::App* verb, std::string& word) {
  verb->add_option("--confinement", word,
                   "strict: the guest reaches nothing of the host but what it is given (the default); relaxed: what "
                   "umld's user can, for trusted guests")
      ->check(CLI::IsMember({"strict", "relaxed"}))
      ->option_text("strict|relaxed");
}

// The option --trust of a verb, in the same way: "untrusted", "trusted", or empty.
inline void AddTrust(CLI::App* verb, std::string& word) {
  verb->add_option("--trust", word,
                   "of whoever has root in the guest. untrusted: never relaxed (the default); trusted: as umld itself")
      ->check(CLI::IsMember({"untrusted", "trusted"}))
      ->option_text("untrusted|trusted");
}

// The option --reclaim of a verb, in the same way: "idle", "never", or empty.
inline void AddReclaim(CLI::App* verb, std::string& word) {
  verb->add_option("--reclaim", word,
                   "of host memory that the guest has used once and has free now. idle: taken back when the guest is "
                   "idle (the default); never: left to it")
      ->check(CLI::IsMember({"idle", "never"}))
      ->option_text("idle|never");
}

inline v1::Reclaim ReclaimOf(const std::string& word) {
  if (word.empty()) return v1::RECLAIM_UNSPECIFIED;
  return word == "never" ? v1::NEVER : v1::WHEN_IDLE;
}

inline v1::Trust TrustOf(const std::string& word) {
  if (word.empty()) return v1::TRUST_UNSPECIFIED;
  return word == "trusted" ? v1::TRUSTED : v1::UNTRUSTED;
}

inline v1::Confinement ConfinementOf(const std::string& word) {
  if (word.empty()) return v1::CONFINEMENT_UNSPECIFIED;
  return word == "relaxed" ? v1::RELAXED : v1::STRICT;
}

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_CONFINEMENT_H_
