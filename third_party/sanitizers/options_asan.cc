// The sanitizers' options, in the programs themselves: what tests start has an environment of its own.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// vmcore's output goes to /dev/null. What it would have said is put where tools/test_guests looks.
// It runs before the sanitizer does: not instrumented (see BUILD.bazel), and by no function that the sanitizer
// replaces. NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() {
  struct stat output = {};
  const bool nowhere =
      syscall(SYS_fstat, STDERR_FILENO, &output) != 0 || (S_ISCHR(output.st_mode) && output.st_rdev == makedev(1, 3));
  return nowhere ? "log_path=/tmp/umld-sanitizer" : "";
}

// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

// What the libraries of the system keep for good.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() { return "leak:libgrpc\nleak:libsystemd\n"; }
