#ifndef UMLD_TESTS_COMMAND_H_
#define UMLD_TESTS_COMMAND_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace umld::tests {

// Long enough for a busy machine: a test that waits so long has failed, and no test measures time.
inline constexpr absl::Duration kPatience = absl::Seconds(90);

// Looks every 20 ms until `holds`; false when it still does not after `patience`.
bool WaitFor(const std::function<bool()>& holds, absl::Duration patience = kPatience);

// What to run, exactly: nothing of the test's own environment is inherited.
struct Command {
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  std::string folder = "/";
  // What it writes is appended to this file instead; for daemons, whose pipes nobody reads.
  std::string log_file;
};

struct CommandResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string out;
  std::string err;
};
std::ostream& operator<<(std::ostream& out, const CommandResult& result);

// A program of the test's that runs beside it, on pipes or on a terminal of its own. Killed and reaped by the
// destructor.
class Running {
 public:
  enum class On { kPipes, kTerminal };

  // Aborts the test program when the command cannot be started at all.
  static std::unique_ptr<Running> Start(const Command& command, On on);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  pid_t pid() const { return pid_; }

  // What it has written so far; a terminal has no `err`.
  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

  // Its standard input. Goes out while the other functions below wait.
  void Write(const std::string& input) { input_ += input; }
  void CloseInput() { close_input_ = true; }
  // The terminal's size, which the program is told of by SIGWINCH.
  void Resize(int rows, int columns);
  void Signal(int number);

  // Moves input and output until `enough` says so of out(); false: it ended, or has not in time.
  bool ReadUntil(const std::function<bool(const std::string&)>& enough, absl::Duration patience = kPatience);
  bool ReadUntil(const std::string& text, absl::Duration patience = kPatience);
  // The exit code, as in CommandResult; nothing when it still runs after `patience`.
  std::optional<int> Wait(absl::Duration patience = kPatience);
  bool HasEnded() { return Wait(absl::ZeroDuration()).has_value(); }

 private:
  Running() = default;

  // Moves what can be moved, waiting at most 20 ms.
  void Pump();
  void Drain(UniqueFd& fd, std::string& to);
  void Reap();

  pid_t pid_ = 0;
  std::optional<int> exit_code_;
  UniqueFd in_, out_fd_, err_fd_;
  bool terminal_ = false;
  bool close_input_ = false;
  std::string input_, out_, err_;
};

// Runs it to its end. A command that takes longer than `patience` is killed (exit code 137).
CommandResult RunToEnd(const Command& command, const std::string& input = "", absl::Duration patience = kPatience);

// The children of this program that it did not start itself: orphans of daemons that were killed. Reaps the dead ones,
// as init would, and returns the others. Needs AdoptOrphans.
std::vector<pid_t> ReapOrphans();
// Makes this program the parent of all processes that its children leave behind.
void AdoptOrphans();

}  // namespace umld::tests

#endif  // UMLD_TESTS_COMMAND_H_
