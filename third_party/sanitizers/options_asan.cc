// The sanitizers' options, in the programs themselves: what tests start has an environment of its own.

extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

// What the libraries of the system keep for good.
extern "C" const char* __lsan_default_suppressions() { return "leak:libgrpc\nleak:libsystemd\n"; }
