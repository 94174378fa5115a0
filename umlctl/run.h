#ifndef UMLD_UMLCTL_RUN_H_
#define UMLD_UMLCTL_RUN_H_

#include <string>
#include <vector>

#include "umlctl/session.h"

namespace umld::umlctl {

// The whole program but for its file descriptors: reads `words` (without the program's name), does what they say, and
// returns the exit code. No exception leaves it.
ExitCode Run(std::vector<std::string> words, const Streams& streams);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_RUN_H_
