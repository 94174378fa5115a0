#include "image/tool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace umld::image {
namespace {

constexpr size_t kKept = 64 << 10;
constexpr int kLookEveryMs = 200;

}  // namespace

absl::StatusOr<std::string> FindTool(const std::string& name, const std::string& package) {
  for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/local/sbin/", "/usr/bin/", "/bin/"}) {
    std::string path = absl::StrCat(folder, name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the program ", name, " is missing"),
                   {"TOOL_MISSING", name, absl::StrCat("install the package ", package)});
}

absl::StatusOr<std::string> RunTool(const Tool& tool, const std::function<absl::Status(absl::string_view said)>& look) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  SpawnOptions options;
  if (tool.memory_bytes != 0) {
    ASSIGN_OR_RETURN(const std::string prlimit, FindTool("prlimit", "util-linux"));
    options.argv = {prlimit, absl::StrCat("--data=", tool.memory_bytes), "--"};
  }
  options.argv.insert(options.argv.end(), tool.argv.begin(), tool.argv.end());
  options.environment = tool.environment;
  if (options.environment.empty()) options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  options.fds = tool.fds;
  options.fds.emplace_back(1, writer.get());
  options.fds.emplace_back(2, writer.get());
  // So that what it starts ends with it.
  options.new_session = true;
  ASSIGN_OR_RETURN(Child child, Spawn(options));
  writer.reset();
  std::string said;
  absl::Status status;
  size_t seen = 0;
  while (true) {
    pollfd wait = {reader.get(), POLLIN, 0};
    const int ready = poll(&wait, 1, kLookEveryMs);
    char buffer[4096];
    const ssize_t got = ready > 0 ? read(reader.get(), buffer, sizeof(buffer)) : 1;
    if (ready > 0 && got <= 0) break;
    if (ready > 0) said.append(buffer, static_cast<size_t>(got));
    if (look) status = look(absl::string_view(said).substr(seen));
    seen = said.size();
    if (!status.ok()) {
      kill(-child.pid, SIGKILL);
      break;
    }
    if (said.size() > 2 * kKept) {
      said.erase(0, said.size() - kKept);
      seen = said.size();
    }
  }
  int ended = 0;
  while (waitpid(child.pid, &ended, 0) < 0 && errno == EINTR) {
  }
  RETURN_IF_ERROR(status);
  if (WIFEXITED(ended) && (WEXITSTATUS(ended) == 0 || WEXITSTATUS(ended) == tool.fine)) return said;
  absl::string_view words = absl::StripAsciiWhitespace(said);
  if (words.size() > 500) words.remove_prefix(words.size() - 500);
  const std::string how =
      WIFEXITED(ended) ? absl::StrCat("exit code ", WEXITSTATUS(ended)) : absl::StrCat("signal ", WTERMSIG(ended));
  const bool full = absl::StrContains(words, "No space left");
  return MakeError(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
                   absl::StrCat(tool.argv[0], " failed with ", how, ": ", words),
                   {full ? "DISK_FULL" : "TOOL_FAILED", tool.argv[0],
                    full ? "free space on the filesystem of umld's state directory" : "its words say why"});
}

}  // namespace umld::image
