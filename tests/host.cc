#include "tests/host.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/guest_login.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;

constexpr char kPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Reads the folder; waits for "done", or for the end of the test program, and then ends what belongs to the folder.
constexpr char kJanitor[] = R"sh(
read -r FOLDER
case $FOLDER in /tmp/umldt.?*) ;; *) exit 1 ;; esac
read -r word && exit 0
for _ in 1 2 3; do
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    [ "$pid" = $$ ] && continue
    case "$(readlink $proc/cwd) $(tr '\0' ' ' <$proc/cmdline)" in *"$FOLDER"*) kill -9 "$pid" ;; esac
  done 2>/dev/null
done
grep -o "$FOLDER[^ ]*" /proc/self/mounts | while read -r mount; do umount -l "$mount"; done
rm -rf "$FOLDER"
)sh";

std::string LastOf(const std::string& text) { return text.substr(text.size() - std::min<size_t>(text.size(), 4000)); }

std::string Content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void MakeFolder(const std::string& path, const HostOptions& options) {
  fs::create_directories(path);
  if (options.uid != 0 && chown(path.c_str(), options.uid, options.gid) != 0) {
    ADD_FAILURE() << "chown " << path;
  }
}

}  // namespace

testing::AssertionResult Ok(const CommandResult& result) {
  if (result.exit_code == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "it failed: " << result;
}

testing::AssertionResult Refused(const CommandResult& result, Exit code, const std::vector<std::string>& texts) {
  auto wrong = [&](const std::string& what) { return testing::AssertionFailure() << what << ": " << result; };
  if (result.exit_code != code) return wrong(absl::StrCat("the exit code is not ", code));
  if (!absl::StartsWith(result.err, "error: ")) return wrong("stderr does not begin with \"error: \"");
  const size_t hint = result.err.find("\nhint:  ");
  if (hint == std::string::npos || result.err.size() < hint + 12) return wrong("there is no hint");
  for (const std::string& text : texts) {
    if (!absl::StrContains(result.err, text)) return wrong(absl::StrCat("the error does not say \"", text, "\""));
  }
  return testing::AssertionSuccess();
}

std::ostream& operator<<(std::ostream& out, const GuestResult& result) {
  return out << "exit code " << result.exit_code << " in the guest, which printed:\n" << result.out;
}

Host::Host(HostOptions options) : options_(std::move(options)) {
  AdoptOrphans();
  char folder[] = "/tmp/umldt.XXXXXX";
  if (mkdtemp(folder) == nullptr) {
    ADD_FAILURE() << "no folder in /tmp";
    abort();
  }
  root_ = folder;
  MakeFolders();
  StartJanitor();
}

Host::~Host() { Finish(); }

void Host::MakeFolders() {
  chmod(root_.c_str(), 0755);
  for (const char* folder : {"/home", "/work", "/xdg"}) MakeFolder(root_ + folder, options_);
  chmod((root_ + "/xdg").c_str(), 0700);
  state_dir_ = options_.default_folders ? home() + "/.local/state/umld" : root_ + "/state";
  run_dir_ = options_.default_folders ? root_ + "/xdg/umld"
                                      : (options_.run_folder.empty() ? root_ : options_.run_folder) + "/run";
  if (!options_.default_folders) {
    MakeFolder(state_dir_, options_);
    MakeFolder(run_dir_, options_);
  }
  const fs::path built = fs::current_path();
  if (options_.uid == 0) {
    programs_ = built.string();
    return;
  }
  // The build tree may lie where another user cannot look.
  programs_ = root_ + "/bin";
  for (const char* name : {"umld", "umlctl", "vmcore"}) {
    fs::create_directories(programs_ + "/" + name);
    fs::copy_file(built / name / name, fs::path(programs_) / name / name);
  }
}

void Host::StartJanitor() {
  Command command;
  command.argv = {"/bin/sh", "-c", kJanitor};
  command.environment = {kPath};
  janitor_ = Running::Start(command, Running::On::kPipes);
  janitor_->Write(root_ + "\n");
  janitor_->ReadUntil("", absl::ZeroDuration());
}

std::string Host::Program(const std::string& name) const { return absl::StrCat(programs_, "/", name, "/", name); }

std::vector<std::string> Host::Environment() const {
  return {
      kPath,    "HOME=" + home(), "UMLD_ADDRESS=unix:" + socket(), "XDG_RUNTIME_DIR=" + root_ + "/xdg", "TERM=xterm",
      "TZ=UTC", "LC_ALL=C.UTF-8"};
}

Command Host::MakeCommand(std::vector<std::string> argv) const {
  Command command;
  if (options_.uid != 0) {
    command.argv = {"setpriv", absl::StrCat("--reuid=", options_.uid), absl::StrCat("--regid=", options_.gid),
                    "--clear-groups", "--"};
  }
  command.argv.insert(command.argv.end(), argv.begin(), argv.end());
  command.environment = Environment();
  command.folder = work();
  return command;
}

Command Host::UmldCommand() const {
  std::vector<std::string> argv = {Program("umld")};
  if (!options_.default_folders) {
    argv.insert(argv.end(), {"--state-dir", state_dir_, "--run-dir", run_dir_});
  }
  argv.insert(argv.end(), options_.umld_args.begin(), options_.umld_args.end());
  return MakeCommand(argv);
}

// A test that is run a second time so has guests of 64 MiB started from the warm pool.
bool Host::UsesWarmPool() const { return std::getenv("UMLD_TEST_WARM") != nullptr && options_.umld_args.empty(); }

// Whatever the pool has to do is done before a guest is started.
void Host::AwaitWarmPool(const std::vector<std::string>& words) const {
  if (words.empty() || words[0] != "start" || !UsesWarmPool()) return;
  WaitFor([&] { return Shell(Program("umlctl") + " pool list --no-headers | grep -q ' 2  *2 '").exit_code == 0; });
}

bool Host::Start() {
  Command command = UmldCommand();
  command.log_file = root_ + "/umld.log";
  umld_ = Running::Start(command, Running::On::kPipes);
  started_ = true;
  CommandResult answer;
  const bool serves = WaitFor([&] {
    if (umld_->HasEnded()) return true;
    answer = Run({"list"});
    return answer.exit_code == 0;
  });
  if (serves && !umld_->HasEnded()) {
    return !UsesWarmPool() || Ok(Run({"pool", "set", "--mem", "64M", "--warm", "2"}));
  }
  ADD_FAILURE() << "umld does not serve: " << answer << "--- its log\n" << Log();
  if (umld_->HasEnded()) umld_.reset();
  return false;
}

void Host::Stop() {
  if (umld_ == nullptr) return;
  umld_->Signal(SIGTERM);
  const std::optional<int> exit_code = umld_->Wait();
  EXPECT_EQ(exit_code, 0) << "umld did not end in order when asked to\n" << Log();
  umld_.reset();
}

void Host::Kill9() {
  if (umld_ == nullptr) return;
  umld_->Signal(SIGKILL);
  EXPECT_EQ(umld_->Wait(), 128 + SIGKILL) << "umld had ended before it was killed\n" << Log();
  umld_.reset();
}

bool Host::KillAt(const std::string& syscall, int nth) {
  return TraceUmld(syscall, absl::StrCat("signal=KILL:when=", nth));
}

bool Host::HoldAt(const std::string& syscall, int nth) {
  return TraceUmld(syscall, absl::StrCat("delay_enter=3600s:when=", nth));
}

void Host::LetGo() {
  tracer_->Signal(SIGTERM);
  EXPECT_TRUE(tracer_->Wait().has_value()) << "umld's tracer does not end";
  tracer_.reset();
}

bool Host::TraceUmld(const std::string& syscall, const std::string& injected) {
  Command command;
  // Threads are followed, and programs that it starts are let go of: a kernel could not trace its own processes.
  command.argv = {"strace", "-f",
                  "-b",     "execve",
                  "-p",     std::to_string(pid()),
                  "-e",     "trace=" + syscall,
                  "-e",     absl::StrCat("inject=", syscall, ":", injected)};
  command.environment = {kPath};
  command.log_file = root_ + "/strace.log";
  tracer_ = Running::Start(command, Running::On::kPipes);
  // All of its threads are traced when the kernel says so of each.
  const std::string untraced = absl::StrCat("! grep -q 'TracerPid:.0$' /proc/", pid(), "/task/*/status");
  const auto traced = [&] { return tracer_->HasEnded() || Shell(untraced).exit_code == 0; };
  if (WaitFor(traced) && !tracer_->HasEnded()) return true;
  ADD_FAILURE() << "umld cannot be traced: " << Shell("cat " + command.log_file).out;
  return false;
}

bool Host::WaitForKill() {
  const std::optional<int> exit_code = umld_->Wait();
  EXPECT_EQ(tracer_->Wait().has_value(), exit_code.has_value());
  EXPECT_EQ(exit_code, 128 + SIGKILL) << "umld was not killed where it should have been\n"
                                      << Shell("cat " + root_ + "/strace.log").out;
  tracer_.reset();
  if (exit_code.has_value()) umld_.reset();
  return exit_code == 128 + SIGKILL;
}

void Host::Finish() {
  if (std::exchange(finished_, true)) return;
  if (umld_ != nullptr && umld_->HasEnded()) {
    ADD_FAILURE() << "umld has ended on its own, exit code " << *umld_->Wait() << "\n" << Log();
    umld_.reset();
  }
  if (umld_ == nullptr && started_) Start();
  if (testing::Test::HasFailure()) std::cerr << Panics();
  if (umld_ != nullptr) {
    const CommandResult removed = Run({"delete", "--all", "--force"});
    EXPECT_TRUE(Ok(removed)) << "the guests could not be deleted\n" << Log();
    EXPECT_EQ(Names(), std::vector<std::string>());
    Stop();
  }
  if (started_ && UsesWarmPool()) {
    EXPECT_GT(warm_starts_, 0) << "no guest was started from the warm pool";
  }
  std::vector<std::string> left;
  WaitFor([&] { return (left = FindLeftovers(root_, socket())).empty(); }, absl::Seconds(5));
  EXPECT_TRUE(left.empty()) << "left behind:\n" << absl::StrJoin(left, "\n") << "\n--- umld's log\n" << Log();
  EXPECT_EQ(FilesUnder(mconsole_dir()), std::vector<std::string>()) << "left behind for uml_mconsole";
  EXPECT_EQ(FilesUnder(run_dir_ + "/guests"), std::vector<std::string>()) << "left behind of deleted guests";
  EXPECT_EQ(FilesUnder(state_dir_ + "/guests"), std::vector<std::string>()) << "left behind of deleted guests";
  for (const ProcessInfo& process : ProcessesOf(root_)) kill(process.pid, SIGKILL);
  for (const std::string& mount : MountsUnder(root_)) {
    if (umount2(mount.c_str(), MNT_DETACH) != 0) ADD_FAILURE() << "umount " << mount;
  }
  if (testing::Test::HasFailure() && getenv("UMLD_KEEP") != nullptr) {
    std::cerr << "kept: " << root_ << "\n";
  } else {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
    if (!options_.run_folder.empty()) fs::remove_all(run_dir_, ignored);
  }
  janitor_->Write("done\n");
  EXPECT_EQ(janitor_->Wait(), 0);
}

std::string Host::Log() const { return Content(root_ + "/umld.log"); }

std::string Host::Panics() const {
  constexpr size_t kBefore = 6000, kAfter = 500;
  std::string all;
  std::error_code none;
  for (const fs::directory_entry& guest : fs::directory_iterator(state_dir_ + "/guests", none)) {
    const std::string said = Content(guest.path() / "con0.log");
    const size_t at = said.rfind("Kernel panic");
    if (at == std::string::npos) continue;
    const size_t begin = at > kBefore ? at - kBefore : 0;
    absl::StrAppend(&all, guest.path().string(), ":\n", said.substr(begin, at - begin + kAfter), "\n");
  }
  return all;
}

CommandResult Host::Run(const std::vector<std::string>& words, const std::string& input) const {
  std::vector<std::string> argv = {Program("umlctl")};
  argv.insert(argv.end(), words.begin(), words.end());
  AwaitWarmPool(words);
  CommandResult result = RunToEnd(MakeCommand(argv), input);
  if (absl::StrContains(result.out, "started (warm)")) ++warm_starts_;
  return result;
}

std::unique_ptr<Running> Host::RunBeside(const std::vector<std::string>& words, Running::On on) const {
  std::vector<std::string> argv = {Program("umlctl")};
  argv.insert(argv.end(), words.begin(), words.end());
  AwaitWarmPool(words);
  return Running::Start(MakeCommand(argv), on);
}

CommandResult Host::UmlMconsole(const std::vector<std::string>& words, const std::string& folder) const {
  std::vector<std::string> argv = {"uml_mconsole"};
  argv.insert(argv.end(), words.begin(), words.end());
  Command command = MakeCommand(argv);
  if (!folder.empty()) command.folder = folder;
  return RunToEnd(command);
}

CommandResult Host::Shell(const std::string& script) const { return RunToEnd(MakeCommand({"/bin/sh", "-c", script})); }

void Host::BuildTiny() {
  const CommandResult list = Run({"image", "list", "-o", "name"});
  EXPECT_TRUE(Ok(list));
  if (absl::StrContains(list.out, "tiny")) return;
  EXPECT_TRUE(Ok(Run({"image", "build", "tiny"}))) << Log();
}

bool Host::Create(const std::string& name, const std::vector<std::string>& more) {
  BuildTiny();
  std::vector<std::string> words = {"create", name, "--image", "tiny", "--mem", "64M"};
  words.insert(words.end(), more.begin(), more.end());
  const CommandResult created = Run(words);
  EXPECT_TRUE(Ok(created)) << Log();
  return created.exit_code == 0;
}

bool Host::CreateAndStart(const std::string& name, const std::vector<std::string>& more) {
  if (!Create(name, more)) return false;
  const CommandResult started = Run({"start", name});
  EXPECT_TRUE(Ok(started)) << Log();
  return started.exit_code == 0;
}

Json Host::Describe(const std::string& name) const {
  const CommandResult result = Run({"describe", name, "-o", "json"});
  if (result.exit_code == kNotFound) return nullptr;
  Json guest = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(guest.is_object()) << "describe " << name << ": " << result;
  // A guest that only runs takes more memory with every page it touches; the rest of a description can be compared.
  if (guest.is_object()) guest.erase("host_memory_bytes");
  return guest;
}

std::string Host::State(const std::string& name) const {
  const Json guest = Describe(name);
  return guest.is_object() ? guest.value("state", "?") : "NONE";
}

bool Host::WaitForState(const std::string& name, const std::string& state) const {
  const bool came = WaitFor([&] { return State(name) == state; });
  EXPECT_TRUE(came) << name << " is " << State(name) << ", not " << state << "\n" << Run({"describe", name});
  return came;
}

std::vector<std::string> Host::Names() const {
  const CommandResult result = Run({"list", "-o", "name"});
  EXPECT_TRUE(Ok(result));
  return absl::StrSplit(result.out, '\n', absl::SkipEmpty());
}

std::vector<Json> Host::Events(const std::string& name) const {
  std::vector<std::string> words = {"events", "-o", "json"};
  if (!name.empty()) words.push_back(name);
  const CommandResult result = Run(words);
  EXPECT_TRUE(Ok(result));
  std::vector<Json> events;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(result.out, '\n', absl::SkipEmpty()))) {
    events.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(events.back().is_object()) << line;
  }
  return events;
}

GuestResult Host::RunInGuest(const std::string& name, const std::string& command, absl::Duration patience) const {
  std::unique_ptr<Running> console = RunBeside({"console", name, "--take-over", "--history", "0", "--linger", "0s"});
  GuestResult result;
  if (!LogIn(*console, patience)) {
    ADD_FAILURE() << "no login on con1 of " << name << "; it said:\n" << LastOf(console->out()) << console->err();
  } else if (!RunAtPrompt(*console, command, patience, &result.exit_code, &result.out)) {
    ADD_FAILURE() << "the guest " << name << " did not finish \"" << command << "\"; the console said:\n"
                  << LastOf(console->out()) << console->err();
  }
  console->CloseInput();
  if (!console->Wait(absl::Seconds(20)).has_value()) {
    ADD_FAILURE() << "umlctl console does not end with its input; it said:\n"
                  << LastOf(console->out()) << console->err();
  }
  return result;
}

Json DiskOf(const Json& guest, const std::string& device) {
  if (!guest.is_object()) return nullptr;
  for (const Json& disk : guest.value("disks", Json::array())) {
    if (absl::EndsWith(disk.value("name", ""), "/" + device)) return disk;
  }
  return nullptr;
}

}  // namespace umld::tests
