#include "umlctl/session.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/address.h"
#include "umlctl/printable.h"

namespace umld::umlctl {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::StatusOr<std::string> Session::SocketPath() const {
  const AddressSources sources{address, Environment("UMLD_ADDRESS"), Environment("XDG_RUNTIME_DIR"), geteuid()};
  return ResolveAddress(sources, [](const std::string& path) { return access(path.c_str(), F_OK) == 0; });
}

absl::StatusOr<Client*> Session::client() {
  if (client_ == nullptr) {
    ASSIGN_OR_RETURN(const std::string path, SocketPath());
    ASSIGN_OR_RETURN(client_, Client::Connect(path));
  }
  return client_.get();
}

void Session::Say(absl::string_view line) {
  absl::MutexLock lock(&mutex_);
  progress_.Clear();
  streams_.out << line << "\n" << std::flush;
}

void Session::Note(absl::string_view line, bool raw_terminal) {
  absl::MutexLock lock(&mutex_);
  progress_.Clear();
  streams_.err << (raw_terminal ? "\r\n" : "") << PrintableLine(line) << (raw_terminal ? "\r\n" : "\n") << std::flush;
}

void Session::Warn(const std::vector<std::string>& warnings, absl::string_view guest) {
  for (const std::string& warning : warnings) {
    Note(absl::StrCat("warning: ", guest, guest.empty() ? "" : ": ", warning));
  }
}

void Session::Report(const absl::Status& status) {
  if (status.ok()) return;
  absl::MutexLock lock(&mutex_);
  progress_.Clear();
  // Results that were printed before the error also stand before it when both go to one place.
  streams_.out << std::flush;
  PrintError(status, streams_.err);
  exit_code_ = std::max(exit_code_, ExitCodeOf(status));
}

void Session::ShowProgress(const std::string& what, absl::string_view text) {
  absl::MutexLock lock(&mutex_);
  progress_.Set(what, text);
}

void Session::EndProgress(const std::string& what) {
  absl::MutexLock lock(&mutex_);
  progress_.Remove(what);
}

void OnVerb(CLI::App* verb, Session& session, std::function<absl::Status()> action) {
  verb->callback([&session, action = std::move(action)] { session.action = action; });
}

}  // namespace umld::umlctl
