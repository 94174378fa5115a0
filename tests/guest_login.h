#ifndef UMLD_TESTS_GUEST_LOGIN_H_
#define UMLD_TESTS_GUEST_LOGIN_H_

#include <string>

#include "absl/time/time.h"
#include "tests/command.h"

namespace umld::tests {

// Whether what a console has shown ends with a shell's prompt.
bool AtPrompt(const std::string& out);

// Presses Enter until `console` (a `umlctl console` of a login) shows a shell's prompt, logging in as root when it
// shows that of login. False: neither came in time.
bool LogIn(Running& console, absl::Duration patience);

// Types a command at the shell's prompt and waits until it is done. `out` is what it printed, lines ending in "\n".
// False: it was not done in time.
bool RunAtPrompt(Running& console, const std::string& command, absl::Duration patience, int* exit_code,
                 std::string* out);

}  // namespace umld::tests

#endif  // UMLD_TESTS_GUEST_LOGIN_H_
