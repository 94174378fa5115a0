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
                   "umld's user can")
      ->check(CLI::IsMember({"strict", "relaxed"}))
      ->option_text("strict|relaxed");
}

inline v1::Confinement ConfinementOf(const std::string& word) {
  if (word.empty()) return v1::CONFINEMENT_UNSPECIFIED;
  return word == "relaxed" ? v1::RELAXED : v1::STRICT;
}

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_CONFINEMENT_H_
