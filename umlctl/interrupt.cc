#include "umlctl/interrupt.h"

#include <unistd.h>

#include <csignal>

#include "umlctl/errors.h"

namespace umld::umlctl {
namespace {

constexpr char kNotice[] =
    "\nnote: this only ends the waiting; what was asked for goes on (umlctl operations list --unfinished)\n";

// write and _exit alone: both may be called in a signal's handler.
void OnInterrupt(int) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kNotice, sizeof(kNotice) - 1);
  _exit(kExitInterrupted);
}

}  // namespace

InterruptNotice::InterruptNotice() { std::signal(SIGINT, OnInterrupt); }
InterruptNotice::~InterruptNotice() { std::signal(SIGINT, SIG_DFL); }

}  // namespace umld::umlctl
