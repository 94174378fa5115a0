#include "tests/leftovers.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/command.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Link(const fs::path& path) {
  std::error_code ignored;
  return fs::read_symlink(path, ignored).string();
}

std::string WithSpaces(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

// The guest memory that a process maps, as "/dev/shm/#148 (deleted)".
std::string MemoryFile(const std::string& proc) {
  std::ifstream maps(proc + "/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find("/dev/shm/");
    if (path != std::string::npos && absl::EndsWith(line, "(deleted)")) return line.substr(path);
  }
  return "";
}

// False: it has gone, or is a zombie.
bool Look(pid_t pid, ProcessInfo* info) {
  const std::string proc = absl::StrCat("/proc/", pid);
  const std::string stat = Read(proc + "/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(stat.substr(name_end + 2));
  fields >> info->state >> info->parent;
  info->pid = pid;
  info->command = WithSpaces(Read(proc + "/cmdline"));
  if (info->command.empty()) info->command = stat.substr(stat.find('('), name_end + 1 - stat.find('('));
  info->folder = Link(proc + "/cwd");
  return info->state != 'Z' && info->state != 'X';
}

std::vector<pid_t> AllPids() {
  std::vector<pid_t> pids;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &pid) && pid != getpid()) pids.push_back(pid);
  }
  return pids;
}

// As a path of its own, not as the beginning of a longer name.
bool Mentions(const std::string& text, const std::string& folder) {
  for (size_t at = text.find(folder); at != std::string::npos; at = text.find(folder, at + 1)) {
    const size_t end = at + folder.size();
    if (end == text.size() || absl::StrContains("/ \n\t,:;(", absl::string_view(&text[end], 1)) || text[end] == '\0') {
      return true;
    }
  }
  return false;
}

}  // namespace

namespace {

std::map<pid_t, ProcessInfo> AllProcesses() {
  std::map<pid_t, ProcessInfo> all;
  for (pid_t pid : AllPids()) {
    ProcessInfo info;
    if (Look(pid, &info)) all[pid] = info;
  }
  return all;
}

// Those with these pids, and what they have started.
std::vector<ProcessInfo> WithDescendants(std::set<pid_t> pids, std::map<pid_t, ProcessInfo> all) {
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [pid, info] : all) {
      if (pids.count(info.parent) > 0 && pids.insert(pid).second) grew = true;
    }
  }
  std::vector<ProcessInfo> found;
  for (pid_t pid : pids) {
    const auto info = all.find(pid);
    if (info == all.end()) continue;
    info->second.memory_file = MemoryFile(absl::StrCat("/proc/", pid));
    found.push_back(info->second);
  }
  return found;
}

}  // namespace

std::vector<ProcessInfo> ProcessesOf(const std::string& folder) {
  const std::map<pid_t, ProcessInfo> all = AllProcesses();
  std::set<pid_t> pids;
  for (const auto& [pid, info] : all) {
    const std::string proc = absl::StrCat("/proc/", pid);
    if (Mentions(info.folder, folder) || Mentions(info.command, folder) || Mentions(Link(proc + "/exe"), folder) ||
        Mentions(WithSpaces(Read(proc + "/environ")), folder)) {
      pids.insert(pid);
    }
  }
  return WithDescendants(std::move(pids), all);
}

std::vector<ProcessInfo> AdoptedProcesses() {
  std::set<pid_t> ours;
  for (pid_t pid : ReapOrphans()) ours.insert(pid);
  return WithDescendants(std::move(ours), AllProcesses());
}

std::vector<std::string> FindLeftovers(const std::string& folder, const std::string& api_socket) {
  std::vector<std::string> found;
  std::set<pid_t> seen;
  for (const auto& processes : {ProcessesOf(folder), AdoptedProcesses()}) {
    for (const ProcessInfo& process : processes) {
      if (seen.insert(process.pid).second) found.push_back("process " + Describe(process));
    }
  }
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (Mentions(line, folder)) found.push_back("mount " + line);
  }
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);) {
    if (Mentions(line, folder)) found.push_back("open socket " + line);
  }
  for (const std::string& file : FilesUnder(folder)) {
    const std::string path = absl::StrCat(folder, "/", file);
    std::error_code ignored;
    if (fs::is_socket(fs::symlink_status(path, ignored)) && path != api_socket) found.push_back("socket file " + path);
  }
  return found;
}

std::vector<std::string> MountsUnder(const std::string& folder) {
  std::vector<std::string> mounts;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, where;
    fields >> id >> parent >> device >> root >> where;
    if (where == folder || absl::StartsWith(where, folder + "/")) mounts.insert(mounts.begin(), where);
  }
  return mounts;
}

std::vector<std::string> FilesUnder(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    files.push_back(fs::relative(at->path(), folder, error).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string Describe(const ProcessInfo& process) {
  return absl::StrCat(process.pid, " (", std::string(1, process.state), ", child of ", process.parent, ", in ",
                      process.folder, process.memory_file.empty() ? "" : ", holds " + process.memory_file,
                      "): ", process.command);
}

std::string Describe(const std::vector<ProcessInfo>& processes) {
  return absl::StrJoin(processes, "\n",
                       [](std::string* out, const ProcessInfo& process) { out->append(Describe(process)); });
}

}  // namespace umld::tests
