#include <unistd.h>

#include <CLI/App.hpp>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/process.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Words {
  std::string guest;
  std::vector<std::string> arguments;
};

// Where PATH has it; empty: nowhere.
std::string FindProgram(absl::string_view name) {
  const char* path = std::getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    std::string program = absl::StrCat(folder.empty() ? "." : folder, "/", name);
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

// Its kernel is a process that can be seen from here, and runs the kernel that the daemon speaks of.
absl::Status CheckKernel(const v1::Guest& guest) {
  const std::string name = ShortName(guest.name());
  const int32_t pid = guest.processes().kernel_pid();
  if (pid == 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("guest ", name, " is not running"),
                     {"NOT_RUNNING", guest.name(), absl::StrCat("umlctl start ", name)});
  }
  char program[PATH_MAX] = {};
  const ssize_t length = readlink(absl::StrCat("/proc/", pid, "/exe").c_str(), program, sizeof(program) - 1);
  if (length < 0 && errno == EACCES) {
    return MakeError(absl::StatusCode::kPermissionDenied,
                     absl::StrCat("guest ", name, ": its kernel (pid ", pid, ") belongs to another user"),
                     {"NOT_YOURS", guest.name(), "run this as root, or as the user that umld runs as"});
  }
  // A kernel file that was replaced by an upgrade is the same program still.
  const absl::string_view runs = absl::StripSuffix(absl::string_view(program, length < 0 ? 0 : length), " (deleted)");
  char wanted[PATH_MAX] = {};
  if (length > 0 && realpath(guest.kernel_path().c_str(), wanted) != nullptr && runs == wanted) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", name, ": its kernel (pid ", pid, ") is not to be seen from here"),
                   {"OTHER_HOST", guest.name(), "run this on the host, and in the namespaces, where umld runs"});
}

// The debug file that was imported with the kernel; empty: none was.
std::string Symbols(Client& client, const v1::Guest& guest) {
  if (!absl::StartsWith(guest.kernel_in_use(), "kernels/")) return "";
  v1::GetKernelRequest request;
  request.set_name(guest.kernel_in_use());
  const absl::StatusOr<v1::Kernel> kernel = client.GetKernel(request);
  return kernel.ok() ? kernel->symbols_path() : "";
}

absl::Status Gdb(Session& session, const Words& words) {
  ASSIGN_OR_RETURN(const std::string name, GuestName(words.guest));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::StatusOr<v1::Guest> guest = client->GetGuest(name);
  if (!guest.ok()) return NamingGuest(guest.status(), name);
  RETURN_IF_ERROR(CheckKernel(*guest));
  const std::string gdb = FindProgram("gdb");
  if (gdb.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "there is no gdb here",
                     {"NO_GDB", "gdb", "apt-get install gdb"});
  }
  // A UML kernel gets SIGSEGV for its guest's page faults, and SIGUSR1 for its own ends: neither is news.
  std::vector<std::string> argv = {gdb,    "-q",
                                   "-iex", "set confirm off",
                                   "-iex", "handle SIGSEGV pass nostop noprint",
                                   "-iex", "handle SIGUSR1 pass nostop noprint",
                                   "-p",   absl::StrCat(guest->processes().kernel_pid())};
  argv.insert(argv.end(), words.arguments.begin(), words.arguments.end());
  if (const std::string symbols = Symbols(*client, *guest); !symbols.empty()) {
    argv.insert(argv.end(), {"-s", symbols, "-e"});
  }
  argv.push_back(guest->kernel_path());
  session.Note(absl::StrCat("the guest stands still while gdb has its kernel; `continue` or `detach` lets it go on"));
  session.out() << std::flush;
  execv(gdb.c_str(), ExecPointers(argv).data());
  return ErrnoError(errno, absl::StrCat("run ", gdb));
}

}  // namespace

void AddGdb(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("gdb", "Debug a guest's kernel with gdb")->group(kDevicesGroup);
  auto words = std::make_shared<Words>();
  verb->add_option("NAME", words->guest, "the guest")->required();
  verb->add_option("ARGUMENT", words->arguments, "for gdb, after --, as: -- -batch -ex bt");
  OnVerb(verb, session, [&session, words] { return Gdb(session, *words); });
}

}  // namespace umld::umlctl
