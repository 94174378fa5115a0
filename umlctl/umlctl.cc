#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ostream>
#include <string>
#include <vector>

#include "base/status.h"
#include "umlctl/fd_stream.h"
#include "umlctl/run.h"

int main(int argc, char** argv) {
  using namespace umld::umlctl;  // NOLINT: the program's own names
  // A reader that goes away is noticed by write().
  std::signal(SIGPIPE, SIG_IGN);
  FdStreamBuf out_buffer(STDOUT_FILENO);
  FdStreamBuf err_buffer(STDERR_FILENO);
  std::ostream out(&out_buffer);
  std::ostream err(&err_buffer);
  const Streams streams{out, err, isatty(STDOUT_FILENO) == 1, isatty(STDERR_FILENO) == 1};
  const ExitCode code = Run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), streams);
  if (const int error = out_buffer.error(); error != 0 && error != EPIPE) {
    const absl::Status status = umld::ErrnoError(error, "write the standard output");
    PrintError(status, err);
    return ExitCodeOf(status);
  }
  return code;
}
