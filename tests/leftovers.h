#ifndef UMLD_TESTS_LEFTOVERS_H_
#define UMLD_TESTS_LEFTOVERS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace umld::tests {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = '?';         // as in /proc/PID/stat
  std::string command;      // its arguments, or its name when it has none
  std::string folder;       // its working directory, "" when it may not be asked
  std::string memory_file;  // the guest memory (a deleted file of /dev/shm) that it holds, ""
};

// The living processes that have to do with `folder`, in their arguments, environment, working directory or program,
// and what those have started: a kernel of the warm pool calls its working directory what it was called before it was
// the guest's. Not this program.
std::vector<ProcessInfo> ProcessesOf(const std::string& folder);

// The living descendants of the orphans that this program has adopted (AdoptOrphans): what a daemon left behind,
// wherever it works.
std::vector<ProcessInfo> AdoptedProcesses();

// Everything under or about `folder` that a daemon which has stopped, with all its guests deleted, must not leave:
// processes, mounts, sockets (in files and abstract), one line each. The API's own socket file is `api_socket`.
std::vector<std::string> FindLeftovers(const std::string& folder, const std::string& api_socket);

// Where something is mounted on or under `folder`, the last mounted first.
std::vector<std::string> MountsUnder(const std::string& folder);

// The files under `folder` of any kind, relative to it, sorted; empty when there is no such folder.
std::vector<std::string> FilesUnder(const std::string& folder);

std::string Describe(const ProcessInfo& process);
std::string Describe(const std::vector<ProcessInfo>& processes);

}  // namespace umld::tests

#endif  // UMLD_TESTS_LEFTOVERS_H_
