#ifndef UMLD_TESTS_HOST_H_
#define UMLD_TESTS_HOST_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/command.h"
#include "tests/json.h"

namespace umld::tests {

// umlctl's exit codes.
enum Exit : int {
  kOk = 0,
  kSaidNo = 1,
  kUsage = 2,
  kNotFound = 3,
  kWrongState = 4,
  kBusyOrExists = 5,
  kDenied = 6,
  kUnreachable = 7,
  kTimedOut = 8,
};

// The command succeeded.
testing::AssertionResult Ok(const CommandResult& result);
// umlctl refused with this exit code and an error that says what, names all of `texts`, and has a hint.
testing::AssertionResult Refused(const CommandResult& result, Exit code, const std::vector<std::string>& texts);

struct HostOptions {
  std::vector<std::string> umld_args;
  // Who runs everything. 0: whoever runs the test.
  uid_t uid = 0;
  gid_t gid = 0;
  // Without --state-dir and --run-dir: the folders that an ordinary user gets. Not for root.
  bool default_folders = false;
  // Where the runtime directory is, a folder that is there and is emptied at the end; empty: beside all else.
  std::string run_folder = "";
};

// What a command in a guest printed (both streams), and its exit code.
struct GuestResult {
  int exit_code = -1;
  std::string out;
};
std::ostream& operator<<(std::ostream& out, const GuestResult& result);

// A umld of the test's own, in a new folder under /tmp which also is the home of its user, and the commands that talk
// to it. Finish (or the destructor) deletes the guests through umlctl, stops umld, and fails the test for anything that
// is left behind. Thread: the test's.
class Host {
 public:
  explicit Host(HostOptions options = {});
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Starts umld and waits until it serves. False, and the test has failed: it does not.
  bool Start();
  // SIGTERM: umld ends with exit code 0, its guests go on.
  void Stop();
  void Kill9();
  // From the return on, umld is killed (SIGKILL) by the thread that is about to make its nth call of `syscall`, before
  // that call does anything. Calls of each thread are counted apart; what umld starts is left alone. False, and the
  // test has failed: it cannot be traced.
  bool KillAt(const std::string& syscall, int nth);
  // Waits for that kill. False, and the test has failed: it has not come.
  bool WaitForKill();
  // As KillAt, but that thread waits before the call until LetGo, and so what it does stays half done.
  bool HoldAt(const std::string& syscall, int nth);
  void LetGo();
  bool IsUp() const { return umld_ != nullptr; }
  pid_t pid() const { return umld_ == nullptr ? 0 : umld_->pid(); }
  void Finish();

  // The command that Start runs; for tests that expect it to fail.
  Command UmldCommand() const;
  // As umld's and umlctl's user, with their environment, in the work folder.
  Command MakeCommand(std::vector<std::string> argv) const;
  // Absolute.
  const std::string& root() const { return root_; }
  std::string state_dir() const { return state_dir_; }
  std::string run_dir() const { return run_dir_; }
  std::string socket() const { return run_dir_ + "/umld.sock"; }
  std::string home() const { return root_ + "/home"; }
  std::string mconsole_dir() const { return home() + "/.uml"; }
  // Where umlctl is called, and a file in it.
  std::string work() const { return root_ + "/work"; }
  std::string Work(const std::string& file) const { return work() + "/" + file; }
  std::string Program(const std::string& name) const;
  // What umld has said.
  std::string Log() const;
  // What the kernels of its guests said before they panicked.
  std::string Panics() const;

  // umlctl with these words, called in the work folder.
  CommandResult Run(const std::vector<std::string>& words, const std::string& input = "") const;
  std::unique_ptr<Running> RunBeside(const std::vector<std::string>& words, Running::On on = Running::On::kPipes) const;
  // The stock tool: uml_mconsole NAME WORD..., called in `folder`, by default the work folder.
  CommandResult UmlMconsole(const std::vector<std::string>& words, const std::string& folder = "") const;
  CommandResult Shell(const std::string& script) const;

  // The image "tiny", made at the first call.
  void BuildTiny();
  // A guest of tiny with 64 MiB: created; created and started. False: the test has failed.
  bool Create(const std::string& name, const std::vector<std::string>& more = {});
  bool CreateAndStart(const std::string& name, const std::vector<std::string>& more = {});

  // `umlctl describe -o json` without host_memory_bytes, which never stands still; null when there is no such guest.
  Json Describe(const std::string& name) const;
  // "RUNNING"; "NONE" when there is no such guest.
  std::string State(const std::string& name) const;
  bool WaitForState(const std::string& name, const std::string& state) const;
  // The names that `umlctl list` prints, in order.
  std::vector<std::string> Names() const;
  // `umlctl events -o json`, of one guest or ("") of all.
  std::vector<Json> Events(const std::string& name = "") const;

  // Types the command at the login of con1, where it logs in when nobody has, and returns what it prints. Fails the
  // test when that does not work.
  GuestResult RunInGuest(const std::string& name, const std::string& command,
                         absl::Duration patience = kPatience) const;

 private:
  bool TraceUmld(const std::string& syscall, const std::string& injected);
  bool UsesWarmPool() const;
  void AwaitWarmPool(const std::vector<std::string>& words) const;
  void MakeFolders();
  void StartJanitor();
  std::vector<std::string> Environment() const;

  const HostOptions options_;
  std::string root_, state_dir_, run_dir_, programs_;
  std::unique_ptr<Running> umld_;
  // What kills or holds umld at a system call.
  std::unique_ptr<Running> tracer_;
  // Cleans up when the test program dies before it has.
  std::unique_ptr<Running> janitor_;
  bool started_ = false;  // ever
  bool finished_ = false;
  mutable int warm_starts_ = 0;  // that umlctl has told of
};

// The disk of a description; null when it has none of that name.
Json DiskOf(const Json& guest, const std::string& device);

}  // namespace umld::tests

#endif  // UMLD_TESTS_HOST_H_
