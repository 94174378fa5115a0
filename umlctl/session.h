#ifndef UMLD_UMLCTL_SESSION_H_
#define UMLD_UMLCTL_SESSION_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "umlctl/client.h"
#include "umlctl/errors.h"
#include "umlctl/output.h"
#include "umlctl/progress.h"

namespace CLI {
class App;
}

namespace umld::umlctl {

// Where the words go.
struct Streams {
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

// One run of umlctl: the global options, the connection, what is printed, and the exit code.
// Thread: the methods that print may be called from any; the rest from the main one.
class Session {
 public:
  explicit Session(const Streams& streams) : streams_(streams), progress_(streams.err, streams.err_is_terminal) {}

  // Set by the command line, read by the verbs.
  std::string address;
  OutputOptions output;
  // What the verb that was given does.
  std::function<absl::Status()> action;

  // The daemon; connected at the first call.
  absl::StatusOr<Client*> client();
  // Where it is looked for, by ResolveAddress.
  absl::StatusOr<std::string> SocketPath() const;

  // Results, for verbs that print from one thread.
  std::ostream& out() { return streams_.out; }
  bool out_is_terminal() const { return streams_.out_is_terminal; }

  // A line of result.
  void Say(absl::string_view line);
  // A line beside the result, on stderr. It may be the words of strangers: a guest's, an archive's. `raw_terminal`: the
  // cursor may be anywhere, and a newline alone does not go back to the margin.
  void Note(absl::string_view line, bool raw_terminal = false);
  // "warning: LINE" each, on stderr; with a guest's name before it unless that is empty.
  void Warn(const std::vector<std::string>& warnings, absl::string_view guest = "");
  // Prints an error and makes the exit code the highest of those reported.
  void Report(const absl::Status& status);
  void ShowProgress(const std::string& what, absl::string_view text);
  void EndProgress(const std::string& what);
  bool shows_progress() const { return streams_.err_is_terminal; }

  ExitCode exit_code() const { return exit_code_; }

 private:
  const Streams streams_;
  std::unique_ptr<Client> client_;
  absl::Mutex mutex_;
  ProgressLine progress_;
  ExitCode exit_code_ = kExitOk;
};

// Has `action` run when `verb` was given on the command line.
void OnVerb(CLI::App* verb, Session& session, std::function<absl::Status()> action);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_SESSION_H_
